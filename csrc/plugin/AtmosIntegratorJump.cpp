// The jump itself: docs/architecture.md, "One jump".

#include "AtmosIntegrator.h"

#include "Binding.h"
#include "JumpSupport.h"
#include "Noise.h"
#include "Superposition.h"
#include "openmm/OpenMMException.h"
#include "openmm/Platform.h"
#include "openmm/internal/ContextImpl.h"
#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

// Boltzmann's constant times Avogadro's (in kJ/mol/K), from their exact values in the SI.
static const double GAS_CONSTANT = 1.380649e-23 * 6.02214076e23 / 1000.0;

// What single precision may do to the lengths of bonds in a module's frame (in nm).
static const double MODULE_ROUNDING = 1e-5;

static const double UNKNOWN = numeric_limits<double>::quiet_NaN();

static vector<double> flatten(const vector<Vec3>& points) {
    vector<double> numbers;
    numbers.reserve(3 * points.size());
    for (const Vec3& point : points)
        numbers.insert(numbers.end(), {point[0], point[1], point[2]});
    return numbers;
}

static vector<Vec3> unflatten(const vector<float>& numbers) {
    vector<Vec3> points;
    points.reserve(numbers.size() / 3);
    for (size_t i = 0; i < numbers.size(); i += 3)
        points.emplace_back(numbers[i], numbers[i + 1], numbers[i + 2]);
    return points;
}

static bool areFinite(const vector<float>& numbers) {
    return all_of(numbers.begin(), numbers.end(), [](float number) { return isfinite(number); });
}

/** Decide whether the energy of a frame is in the window.  One that is not a finite number never is. */
static bool isInside(const Proposal& proposal) {
    return isfinite(proposal.energyAfter) && proposal.energyAfter <= proposal.energyLimit;
}

vector<Vec3> AtmosIntegrator::selectSolute(const vector<Vec3>& positions) const {
    vector<Vec3> solute;
    solute.reserve(atomIndices.size());
    for (int index : atomIndices)
        solute.push_back(positions[index]);
    return solute;
}

double AtmosIntegrator::potentialEnergy() {
    return context->calcForcesAndEnergy(true, true, getIntegrationForceGroups());
}

double AtmosIntegrator::checkedEnergy() {
    const double energy = potentialEnergy();
    if (!isfinite(energy))
        throw OpenMMException("AtmosIntegrator: the potential energy before a jump is not a finite number, so the dynamics has failed. "
                              "Use a smaller step size, or minimize the starting positions");
    return energy;
}

double AtmosIntegrator::thermalEnergy() const {
    return GAS_CONSTANT * getTemperature();
}

bool AtmosIntegrator::haveFiniteForces() {
    // A finite energy is no guarantee: where two atoms of an angle coincide it has no gradient.

    vector<Vec3> forces;
    context->getForces(forces);
    return all_of(forces.begin(), forces.end(), [](const Vec3& force) { return isfinite(force[0] + force[1] + force[2]); });
}

double AtmosIntegrator::energyLimit() const {
    if (acceptanceMode == "none")
        return numeric_limits<double>::infinity();
    const EnergyStatistics known = run.energies.find(energyConditions());
    return known.mean + energyWindow * known.standardDeviation();
}

void AtmosIntegrator::performJump() {
    // Save what a failed or rejected jump has to put back.

    const RunState before = run;
    Snapshot snapshot;
    context->getPositions(snapshot.positions);
    context->getVelocities(snapshot.velocities);
    const string& platform = context->getPlatform().getName();
    if (checkpointRestore == "always" || (checkpointRestore == "auto" && platform != "Reference" && platform != "CPU")) {
        stringstream stream;
        context->createCheckpoint(stream);
        snapshot.checkpoint = stream.str();
    }

    try {
        if (dynamics == "hmc")
            beginTrajectory(snapshot);
        else if (acceptanceMode == "metropolis")
            exactJump(snapshot);
        else
            jumpFromMiddle(snapshot);
    } catch (const exception& error) {
        restore(snapshot);
        run = before;
        const string text = error.what();
        throw OpenMMException(text.rfind("AtmosIntegrator: ", 0) == 0 ? text : "AtmosIntegrator: a jump failed: " + text);
    }
}

vector<Vec3> AtmosIntegrator::moveToMiddle(const Snapshot& snapshot) {
    const double halfStep = 0.5 * getStepSize();
    vector<Vec3> positions = snapshot.positions;
    for (size_t i = 0; i < positions.size(); i++)
        if (binding->masses[i] != 0)
            positions[i] -= snapshot.velocities[i] * halfStep;
    setConstrained(positions);
    context->getPositions(positions);
    return positions;
}

void AtmosIntegrator::setConstrained(const vector<Vec3>& positions) {
    context->setPositions(positions);
    context->applyConstraints(getConstraintTolerance());
    context->computeVirtualSites();
}

void AtmosIntegrator::jumpFromMiddle(const Snapshot& snapshot) {
    const vector<Vec3> middle = moveToMiddle(snapshot);
    const double energyBefore = checkedEnergy();
    run.stepsSinceJump = 0;
    EnergyStatistics& known = run.energies.use(energyConditions());
    known.add(energyBefore);
    if (acceptanceMode == "filter" && known.count < windowSamples)
        restore(snapshot);
    else
        proposeJump(snapshot, middle, energyBefore);
}

void AtmosIntegrator::proposeJump(const Snapshot& snapshot, const vector<Vec3>& middle, double energyBefore) {
    Proposal proposal;
    proposal.attempt = run.numProposed();
    proposal.step = context->getStepCount();
    proposal.energyBefore = energyBefore;
    proposal.energyRaw = proposal.energyAfter = UNKNOWN;
    proposal.energyLimit = energyLimit();

    // Propose a frame and judge it.

    const vector<Vec3> oldSolute = selectSolute(middle);
    proposal.positionsBefore = flatten(oldSolute);
    const PropagatorModule::Result result = callModule(oldSolute, proposal.attempt);
    proposal.logRatio = result.logRatio;
    const Reason reason = judgeFrame(middle, oldSolute, result, proposal);

    // Keep it or go back.

    if (reason == Reason::Accepted) {
        vector<Vec3> positions;
        context->getPositions(positions);
        finishStep(positions, drawVelocities(proposal.attempt));
        run.hidden = result.state;
        run.learnedTime += lag;
    } else
        restore(snapshot);
    run.outcomes[static_cast<int>(reason)]++;
    proposal.reason = reasonName(reason);
    record(proposal);
}

PropagatorModule::Result AtmosIntegrator::callModule(const vector<Vec3>& solute, long long attempt) {
    // Centre the positions and round them; a state that was never set is one without history.

    const Vec3 center = centroid(solute);
    vector<float> positions;
    positions.reserve(3 * solute.size());
    for (const Vec3& x : solute)
        for (int k = 0; k < 3; k++)
            positions.push_back(static_cast<float>(x[k] - center[k]));
    vector<float> state = run.hidden;
    if (state.empty())
        state.resize(static_cast<size_t>(module->getStateSize()), 0.0f);
    const vector<double> numbers =
            Noise::gaussians(run.seed, Noise::PROPOSAL, static_cast<uint64_t>(attempt), static_cast<size_t>(module->getNoiseSize()));
    const vector<float> noise(numbers.begin(), numbers.end());
    return module->propagate(positions, state, noise, lag, getTemperature(), torchThreads);
}

Reason AtmosIntegrator::judgeFrame(const vector<Vec3>& middle, const vector<Vec3>& oldSolute, const PropagatorModule::Result& result,
                                   Proposal& proposal) {
    const vector<Vec3> generated = unflatten(result.positions);
    proposal.positionsRaw = flatten(generated);
    if (!areFinite(result.positions) || !areFinite(result.state))
        return Reason::Nonfinite;
    const Vec3 shift = centroid(generated);
    if (sqrt(shift.dot(shift)) > screen.maxDisplacement)
        return Reason::Displaced;

    // Place the frame on the old one and look at its geometry.

    const vector<Vec3> newSolute = binding->screen.place(generated, oldSolute);
    proposal.positionsRaw = flatten(newSolute);
    const Reason geometry = binding->screen.checkGeometry(oldSolute, newSolute);
    if (geometry != Reason::Accepted)
        return geometry;
    vector<Vec3> environment;
    environment.reserve(binding->environment.size());
    for (int index : binding->environment)
        environment.push_back(middle[index]);
    Vec3 box[3];
    context->getPeriodicBoxVectors(box[0], box[1], box[2]);
    const Reason surroundings = binding->screen.checkEnvironment(newSolute, environment, binding->isPeriodic ? box : nullptr);
    if (surroundings != Reason::Accepted)
        return surroundings;

    // Write it into the Context.

    vector<Vec3> positions = middle;
    for (size_t i = 0; i < atomIndices.size(); i++)
        positions[atomIndices[i]] = newSolute[i];
    if (!constraintsAreNear(positions, screen.constraintTolerance))
        return Reason::Constraints;
    context->setPositions(positions);
    context->computeVirtualSites();
    return judgeEnergy(oldSolute, proposal);
}

Reason AtmosIntegrator::judgeEnergy(const vector<Vec3>& oldSolute, Proposal& proposal) {
    Reason reason = Reason::Accepted;
    bool forcesAreFinite = false;
    try {
        context->applyConstraints(getConstraintTolerance());
        proposal.energyRaw = proposal.energyAfter = potentialEnergy();

        // Relax it.

        for (int iterations : relaxationStages) {
            if (acceptanceMode == "filter" && isInside(proposal))
                break;
            context->minimize(relaxationTolerance, iterations, nullptr);
            proposal.stage++;
            proposal.energyAfter = potentialEnergy();
        }
        forcesAreFinite = haveFiniteForces();
    } catch (const OpenMMException& error) {
        // Some platforms throw where others return a NaN.

        if (!reportsNaN(error))
            throw;
        proposal.energyAfter = UNKNOWN;
        return Reason::Energy;
    }
    vector<Vec3> positions;
    context->getPositions(positions);
    const vector<Vec3> solute = selectSolute(positions);
    proposal.positionsAfter = flatten(solute);
    if (proposal.stage > 0)
        reason = binding->screen.checkStereochemistry(oldSolute, solute);
    if (reason == Reason::Accepted && !(isInside(proposal) && forcesAreFinite))
        reason = Reason::Energy;
    return reason;
}

bool AtmosIntegrator::constraintsAreNear(const vector<Vec3>& positions, double tolerance) const {
    for (const Binding::Constraint& constraint : binding->constraints) {
        const Vec3 delta = positions[constraint.particle2] - positions[constraint.particle1];
        if (fabs(sqrt(delta.dot(delta)) - constraint.distance) > tolerance)
            return false;
    }
    return true;
}

bool AtmosIntegrator::moveByModule(vector<Vec3>& positions, double energy) {
    // A frame lies as near to the old one as it can, and so would the old one to it: the way back is the same.

    bool moved = false;
    for (int i = 0; i < movesPerJump; i++) {
        const long long attempt = run.numProposed();
        const vector<Vec3> oldSolute = selectSolute(positions);
        const PropagatorModule::Result result = callModule(oldSolute, attempt);
        Reason reason = Reason::Nonfinite;
        if (areFinite(result.positions) && isfinite(result.logRatio)) {
            vector<Vec3> proposed = positions;
            const vector<Vec3> newSolute = superpose(unflatten(result.positions), oldSolute);
            for (size_t k = 0; k < atomIndices.size(); k++)
                proposed[atomIndices[k]] = newSolute[k];
            reason = Reason::Constraints;
            if (constraintsAreNear(proposed, MODULE_ROUNDING)) {
                const double newEnergy = energyOf(proposed);
                const double logRatio = (energy - newEnergy) / thermalEnergy() + result.logRatio;
                Noise::Draws draws(run.seed, Noise::ACCEPTANCE, static_cast<uint64_t>(attempt));
                reason = log(draws.uniform()) < logRatio ? Reason::Accepted : Reason::Metropolis;
                if (reason == Reason::Accepted) {
                    energy = newEnergy;
                    swap(positions, proposed);
                    moved = true;
                }
            }
        }
        run.outcomes[static_cast<size_t>(reason)]++;
    }
    return moved;
}

vector<Vec3> AtmosIntegrator::thermalVelocities(long long attempt) const {
    const vector<double>& masses = binding->masses;
    const size_t numMobile = static_cast<size_t>(count_if(masses.begin(), masses.end(), [](double mass) { return mass != 0; }));
    const vector<double> numbers = Noise::gaussians(run.seed, Noise::VELOCITIES, static_cast<uint64_t>(attempt), 3 * numMobile);
    vector<Vec3> velocities(masses.size());
    size_t next = 0;
    for (size_t i = 0; i < masses.size(); i++) {
        if (masses[i] == 0)
            continue;
        velocities[i] = Vec3(numbers[next], numbers[next + 1], numbers[next + 2]) * sqrt(thermalEnergy() / masses[i]);
        next += 3;
    }
    return velocities;
}

vector<Vec3> AtmosIntegrator::drawVelocities(long long attempt) {
    const vector<double>& masses = binding->masses;
    vector<Vec3> velocities = thermalVelocities(attempt);
    context->setVelocities(velocities);
    context->applyVelocityConstraints(getConstraintTolerance());
    context->getVelocities(velocities);
    if (!binding->removesMotion)
        return velocities;

    // Remove the motion of the centre of mass, as the dynamics does.

    Vec3 momentum;
    double totalMass = 0;
    for (size_t i = 0; i < masses.size(); i++) {
        momentum += velocities[i] * masses[i];
        totalMass += masses[i];
    }
    for (size_t i = 0; i < masses.size(); i++)
        if (masses[i] != 0)
            velocities[i] -= momentum / totalMass;
    context->setVelocities(velocities);
    return velocities;
}

void AtmosIntegrator::finishStep(vector<Vec3> positions, const vector<Vec3>& velocities) {
    for (size_t i = 0; i < positions.size(); i++)
        positions[i] += velocities[i] * (0.5 * getStepSize());
    setConstrained(positions);
    context->setVelocities(velocities);
}

void AtmosIntegrator::restore(const Snapshot& snapshot) {
    if (snapshot.checkpoint.empty()) {
        context->setPositions(snapshot.positions);
        context->setVelocities(snapshot.velocities);
        return;
    }

    // The checkpoint of the Context holds the integrator's run state as well, which has moved on since.

    const RunState current = run;
    stringstream stream(snapshot.checkpoint);
    context->loadCheckpoint(stream);
    run = current;
}

void AtmosIntegrator::record(const Proposal& proposal) {
    lastProposal = proposal;
    if (proposalCapacity == 0)
        return;
    while (pending.size() >= static_cast<size_t>(proposalCapacity)) {
        pending.pop_front();
        numDropped++;
    }
    pending.push_back(proposal);
    if (!keepProposalPositions) {
        pending.back().positionsBefore.clear();
        pending.back().positionsRaw.clear();
        pending.back().positionsAfter.clear();
    }
}

} // namespace AtmosPlugin
