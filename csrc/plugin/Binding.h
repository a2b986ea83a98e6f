#ifndef ATMOS_BINDING_H_
#define ATMOS_BINDING_H_

#include "JumpScreen.h"
#include "openmm/System.h"
#include <string>
#include <vector>

namespace AtmosPlugin {

class PropagatorModule;

/**
 * What the jumps need to know of a System, worked out once when a Context is created.
 */
struct Binding {
    /** A constraint that holds at least one atom of the model. */
    struct Constraint {
        int particle1, particle2;
        /** The constrained distance (in nm). */
        double distance;
    };
    /** Without a module. */
    explicit Binding(const OpenMM::System& system);
    /**
     * Check that a module fits a System.
     *
     * @param system        the System that is simulated
     * @param module        the module that proposes jumps
     * @param atomIndices   the particle that each atom of the module is
     * @param screen        what new frames are compared with
     * @throws OpenMMException that says what does not fit
     */
    Binding(const OpenMM::System& system, const PropagatorModule& module, const std::vector<int>& atomIndices, const ScreenParameters& screen);

    JumpScreen screen;
    std::vector<Constraint> constraints;
    /** The particles with mass that are not atoms of the model. */
    std::vector<int> environment;
    /** The mass of each particle (in dalton). */
    std::vector<double> masses;
    /** Whether the System removes the motion of the centre of mass. */
    bool removesMotion = false;
    bool isPeriodic;
    /** Why trajectories of constant energy are not possible, or empty: what in the System forbids them. */
    std::string trajectoryObstacle;
};

} // namespace AtmosPlugin

#endif // ATMOS_BINDING_H_
