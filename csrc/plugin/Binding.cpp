#include "Binding.h"

#include "PropagatorModule.h"
#include "openmm/CMMotionRemover.h"
#include "openmm/OpenMMException.h"
#include <sstream>

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

Binding::Binding(const System& system, const PropagatorModule& module, const vector<int>& atomIndices, const ScreenParameters& screenParameters)
        : screen(screenParameters, module.getNumAtoms()), isPeriodic(system.usesPeriodicBoundaryConditions()) {
    const int numParticles = system.getNumParticles();

    // Check the particles that the module moves.

    vector<bool> isSolute(numParticles, false);
    for (int index : atomIndices) {
        stringstream message;
        if (index < 0 || index >= numParticles)
            message << "names particle " << index << ", but the System has " << numParticles << " particles, numbered from 0";
        else if (isSolute[index])
            message << "names particle " << index << " twice";
        else if (system.isVirtualSite(index))
            message << "names particle " << index << ", which is a virtual site: its position follows from others, so the module cannot set it";
        else if (system.getParticleMass(index) == 0)
            message << "names particle " << index << ", which has no mass: such particles are held in place, so the module must not move it";
        if (!message.str().empty())
            throw OpenMMException("AtmosIntegrator: the list of the module's atoms " + message.str());
        isSolute[index] = true;
    }

    // Sort out the rest of the System.

    for (int i = 0; i < system.getNumForces(); i++)
        if (dynamic_cast<const CMMotionRemover*>(&system.getForce(i)) != nullptr)
            removesMotion = true;
    for (int i = 0; i < numParticles; i++) {
        masses.push_back(system.getParticleMass(i));
        if (masses[i] != 0 && !isSolute[i])
            environment.push_back(i);
    }
    for (int i = 0; i < system.getNumConstraints(); i++) {
        Constraint constraint;
        system.getConstraintParameters(i, constraint.particle1, constraint.particle2, constraint.distance);
        if (isSolute[constraint.particle1] || isSolute[constraint.particle2])
            constraints.push_back(constraint);
    }
}

} // namespace AtmosPlugin
