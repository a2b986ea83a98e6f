#include "Binding.h"

#include "PropagatorModule.h"
#include "openmm/AndersenThermostat.h"
#include "openmm/CMMotionRemover.h"
#include "openmm/CustomExternalForce.h"
#include "openmm/MonteCarloAnisotropicBarostat.h"
#include "openmm/MonteCarloBarostat.h"
#include "openmm/MonteCarloFlexibleBarostat.h"
#include "openmm/MonteCarloMembraneBarostat.h"
#include "openmm/OpenMMException.h"
#include <sstream>

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

template <class T>
static bool is(const Force& force) {
    return dynamic_cast<const T*>(&force) != nullptr;
}

/** Find what in a System would change its energy, or its momentum, in a trajectory that must keep them. */
static string findObstacle(const System& system, bool removesMotion) {
    bool isHeld = false;
    for (int i = 0; i < system.getNumParticles(); i++)
        isHeld = isHeld || (system.getParticleMass(i) == 0 && !system.isVirtualSite(i));
    string external = isHeld ? "particles without mass that hold others" : "";
    for (int i = 0; i < system.getNumForces(); i++) {
        const Force& force = system.getForce(i);
        if (is<AndersenThermostat>(force))
            return "it has an AndersenThermostat, which changes velocities; remove it";
        if (is<MonteCarloBarostat>(force) || is<MonteCarloAnisotropicBarostat>(force) || is<MonteCarloFlexibleBarostat>(force) ||
            is<MonteCarloMembraneBarostat>(force))
            return "it has a barostat (" + force.getName() + "), which changes the box; remove it, or use the dynamics 'langevin'";
        if (is<CustomExternalForce>(force))
            external = "an external force (" + force.getName() + ")";
    }
    if (removesMotion && !external.empty())
        return "it has " + external + " and a CMMotionRemover, which then changes the energy; remove the CMMotionRemover";
    return "";
}

Binding::Binding(const System& system) : screen(ScreenParameters(), 0), isPeriodic(system.usesPeriodicBoundaryConditions()) {
    for (int i = 0; i < system.getNumParticles(); i++)
        masses.push_back(system.getParticleMass(i));
    for (int i = 0; i < system.getNumForces(); i++)
        if (is<CMMotionRemover>(system.getForce(i)))
            removesMotion = true;
    trajectoryObstacle = findObstacle(system, removesMotion);
}

Binding::Binding(const System& system, const PropagatorModule& module, const vector<int>& atomIndices, const ScreenParameters& screenParameters)
        : Binding(system) {
    screen = JumpScreen(screenParameters, module.getNumAtoms());
    const int numParticles = system.getNumParticles();

    // Check the particles that the module moves.

    vector<bool> isSolute(numParticles, false);
    for (size_t atom = 0; atom < atomIndices.size(); atom++) {
        const int index = atomIndices[atom];
        stringstream message;
        if (index < 0 || index >= numParticles)
            message << "names particle " << index << ", but the System has " << numParticles << " particles, numbered from 0";
        else if (isSolute[index])
            message << "names particle " << index << " twice";
        else if (!screen.moves(static_cast<int>(atom)))
            ;
        else if (system.isVirtualSite(index))
            message << "names particle " << index << ", which is a virtual site: its position follows from others, so the module cannot set it";
        else if (system.getParticleMass(index) == 0)
            message << "names particle " << index << ", which has no mass: such particles are held in place, so the module must not move it";
        if (!message.str().empty())
            throw OpenMMException("AtmosIntegrator: the list of the module's atoms " + message.str());
        isSolute[index] = true;
    }

    // Sort out the rest of the System.

    for (int i = 0; i < numParticles; i++)
        if (masses[i] != 0 && !isSolute[i])
            environment.push_back(i);
    for (int i = 0; i < system.getNumConstraints(); i++) {
        Constraint constraint;
        system.getConstraintParameters(i, constraint.particle1, constraint.particle2, constraint.distance);
        if (isSolute[constraint.particle1] || isSolute[constraint.particle2])
            constraints.push_back(constraint);
    }
}

} // namespace AtmosPlugin
