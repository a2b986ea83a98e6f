#include "Binding.h"
#include "PropagatorModule.h"
#include "check.h"

#include "openmm/CMMotionRemover.h"
#include "openmm/VirtualSite.h"

using namespace AtmosPlugin;
using namespace OpenMM;
using namespace std;

namespace {

/** Particles 0 to 3 with the masses 1 to 4, constraints 0-1 and 2-3, a massless particle and a virtual site. */
void build(System& system) {
    for (double mass : {1.0, 2.0, 3.0, 4.0, 0.0, 0.0})
        system.addParticle(mass);
    system.setVirtualSite(5, new TwoParticleAverageSite(0, 1, 0.5, 0.5));
    system.addConstraint(0, 1, 0.1);
    system.addConstraint(2, 3, 0.2);
}

Binding bind(const System& system, const vector<int>& atomIndices) {
    const auto module = PropagatorModule::load(to_string(atomIndices.size()) + " 0 0");
    return Binding(system, *module, atomIndices, ScreenParameters());
}

} // namespace

TEST(binding, particles_are_sorted_out) {
    System system;
    build(system);
    const Binding binding = bind(system, {1, 3});
    CHECK(binding.environment == vector<int>({0, 2}));
    CHECK(binding.masses == vector<double>({1, 2, 3, 4, 0, 0}));
    CHECK_EQUAL(binding.constraints.size(), 2u);
    CHECK_EQUAL(binding.constraints[1].particle1, 2);
    CHECK_EQUAL(binding.constraints[1].particle2, 3);
    CHECK_EQUAL(binding.constraints[1].distance, 0.2);
    CHECK(!binding.removesMotion);
    CHECK(!binding.isPeriodic);
}

TEST(binding, a_remover_of_the_motion_is_found) {
    System system;
    build(system);
    system.addForce(new CMMotionRemover());
    CHECK(bind(system, {0, 1}).removesMotion);
}

TEST(binding, constraints_of_other_particles_do_not_count) {
    System system;
    build(system);
    const Binding binding = bind(system, {0, 1});
    CHECK_EQUAL(binding.constraints.size(), 1u);
    CHECK_EQUAL(binding.constraints[0].distance, 0.1);
}

TEST(binding, particles_that_a_module_cannot_move_are_refused) {
    System system;
    build(system);
    CHECK_THROWS(bind(system, {0, 6}), "names particle 6, but the System has 6 particles");
    CHECK_THROWS(bind(system, {-1}), "names particle -1");
    CHECK_THROWS(bind(system, {2, 0, 2}), "names particle 2 twice");
    CHECK_THROWS(bind(system, {4}), "names particle 4, which has no mass");
    CHECK_THROWS(bind(system, {5}), "names particle 5, which is a virtual site");
}

TEST(binding, a_screen_of_another_molecule_is_refused) {
    System system;
    build(system);
    ScreenParameters screen;
    screen.radii = {0.1};
    CHECK_THROWS(Binding(system, *PropagatorModule::load("2 0 0"), {0, 1}, screen), "1 radii, expected 2");
}
