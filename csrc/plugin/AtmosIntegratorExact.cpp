// Exact jumps and their trajectories: docs/architecture.md, "Exact jumps".

#include "Binding.h"
#include "JumpSupport.h"
#include "Noise.h"
#include "openmm/OpenMMException.h"
#include "openmm/internal/ContextImpl.h"
#include <cmath>
#include <limits>
#include <sstream>

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

[[noreturn]] static void refuse(const string& text) {
    throw OpenMMException("AtmosIntegrator: " + text);
}

template <class T>
static string text(const T& value) {
    stringstream stream;
    stream << value;
    return stream.str();
}

unique_ptr<TorsionMoves> AtmosIntegrator::makeMoves(const TorsionParameters& parameters, const vector<double>& shares, double width) const {
    auto result = make_unique<TorsionMoves>(parameters, shares, width);
    if (context != nullptr)
        result->checkSystem(context->getSystem());
    return result;
}

void AtmosIntegrator::setTorsionMoves(const TorsionParameters& parameters) {
    moves = makeMoves(parameters, moveShares, smallMoveWidth);
    torsionParameters = parameters;
}

const TorsionParameters& AtmosIntegrator::getTorsionMoves() const {
    return torsionParameters;
}

int AtmosIntegrator::getMovesPerJump() const {
    return movesPerJump;
}

void AtmosIntegrator::setMovesPerJump(int count) {
    if (count < 0)
        refuse("the number of moves a jump is " + text(count) + ", but must be 0 or more");
    movesPerJump = count;
}

const vector<double>& AtmosIntegrator::getMoveShares() const {
    return moveShares;
}

void AtmosIntegrator::setMoveShares(const vector<double>& shares) {
    if (!shares.empty() && shares.size() != NUM_MOVE_KINDS)
        refuse("there are " + text(shares.size()) + " shares of moves, but must be " + text(NUM_MOVE_KINDS) + ", or none for the defaults");
    for (double share : shares)
        if (!(share >= 0 && isfinite(share)))
            refuse("a share of a kind of move is " + text(share) + ", but must be 0 or more");
    if (moves != nullptr)
        moves = makeMoves(torsionParameters, shares, smallMoveWidth);
    moveShares = shares;
}

double AtmosIntegrator::getSmallMoveWidth() const {
    return smallMoveWidth;
}

void AtmosIntegrator::setSmallMoveWidth(double width) {
    if (!(width > 0 && isfinite(width)))
        refuse("the width of small moves is " + text(width) + ", but must be a positive angle in radians");
    if (moves != nullptr)
        moves = makeMoves(torsionParameters, moveShares, width);
    smallMoveWidth = width;
}

const string& AtmosIntegrator::getDynamics() const {
    return dynamics;
}

void AtmosIntegrator::setDynamics(const string& name) {
    if (name != "langevin" && name != "hmc")
        refuse("the dynamics is '" + name + "', but must be 'langevin' or 'hmc'");
    if (name != dynamics)
        run.forgetTrajectory();
    dynamics = name;
}

vector<string> AtmosIntegrator::getMoveKinds() {
    vector<string> names;
    for (int i = 0; i < NUM_MOVE_KINDS; i++)
        names.push_back(moveKindName(static_cast<MoveKind>(i)));
    return names;
}

/** The place of a kind of move in lists. */
static size_t findKind(const string& name) {
    string names;
    for (int i = 0; i < NUM_MOVE_KINDS; i++) {
        if (moveKindName(static_cast<MoveKind>(i)) == name)
            return static_cast<size_t>(i);
        names += (i == 0 ? "" : ", ") + moveKindName(static_cast<MoveKind>(i));
    }
    refuse("there is no kind of move '" + name + "'; the kinds are " + names);
}

long long AtmosIntegrator::getNumMovesProposed(const string& kind) const {
    return run.movesProposed[findKind(kind)];
}

long long AtmosIntegrator::getNumMovesAccepted(const string& kind) const {
    return run.movesAccepted[findKind(kind)];
}

long long AtmosIntegrator::getNumJumps() const {
    return run.jumps;
}

long long AtmosIntegrator::getNumTrajectoriesProposed() const {
    return run.trajectoriesProposed;
}

long long AtmosIntegrator::getNumTrajectoriesAccepted() const {
    return run.trajectoriesAccepted;
}

void AtmosIntegrator::checkReady(const Binding& newBinding) const {
    const bool isExact = acceptanceMode == "metropolis";
    if (!isExact && module == nullptr)
        refuse("the jump interval is not 0, but there is no propagator module: call setModule(), or setJumpInterval(0)");
    if (isExact && movesPerJump > 0 && moves == nullptr)
        refuse("the acceptance mode is 'metropolis', but there are no torsions to move: call setTorsionMoves(), or setMovesPerJump(0)");
    if (dynamics != "hmc")
        return;
    if (!isExact)
        refuse("the dynamics 'hmc' needs the acceptance mode 'metropolis', but it is '" + acceptanceMode + "'");
    if (!newBinding.trajectoryObstacle.empty())
        refuse("the dynamics 'hmc' is not possible with this System: " + newBinding.trajectoryObstacle);
}

void AtmosIntegrator::stateChanged(State::DataType changed) {
    // A trajectory ends where the user changes what it is about; the next step begins another.

    if (!isStepping && (changed == State::Positions || changed == State::Velocities || changed == State::Parameters))
        run.forgetTrajectory();
}

double AtmosIntegrator::energyOf(const vector<Vec3>& positions) {
    context->setPositions(positions);
    context->computeVirtualSites();
    double energy = numeric_limits<double>::infinity();
    try {
        energy = context->calcForcesAndEnergy(false, true, getIntegrationForceGroups());
    } catch (const OpenMMException& error) {
        // Some platforms throw where others return a NaN.

        if (!reportsNaN(error))
            throw;
    }
    return isfinite(energy) ? energy : numeric_limits<double>::infinity();
}

bool AtmosIntegrator::moveTorsions(vector<Vec3>& positions, double energy) {
    bool moved = false;
    if (movesPerJump == 0)
        return moved;
    vector<double> torsions = moves->measure(positions);
    vector<Vec3> proposed;
    for (int i = 0; i < movesPerJump; i++) {
        const uint64_t attempt = static_cast<uint64_t>(run.numProposed());
        Noise::Draws draws(run.seed, Noise::MOVES, attempt);
        TorsionMoves::Move move = moves->propose(torsions, draws);
        proposed = positions;
        moves->apply(proposed, torsions, move);
        const double newEnergy = energyOf(proposed);
        const double logRatio = -(newEnergy - energy) / thermalEnergy() + move.logRatio;
        const bool isAccepted = log(Noise::Draws(run.seed, Noise::ACCEPTANCE, attempt).uniform()) < logRatio;
        run.movesProposed[static_cast<size_t>(move.kind)]++;
        run.outcomes[static_cast<size_t>(isAccepted ? Reason::Accepted : Reason::Metropolis)]++;
        if (!isAccepted)
            continue;
        run.movesAccepted[static_cast<size_t>(move.kind)]++;
        moved = true;
        energy = newEnergy;
        torsions = std::move(move.torsions);
        swap(positions, proposed);
    }
    return moved;
}

void AtmosIntegrator::exactJump(const Snapshot& snapshot) {
    vector<Vec3> positions = moveToMiddle(snapshot);
    const double energy = checkedEnergy();
    run.stepsSinceJump = 0;
    run.jumps++;
    if (moveTorsions(positions, energy)) {
        context->setPositions(positions);
        finishStep(run.jumps - 1);
    } else
        restore(snapshot);
}

vector<Vec3> AtmosIntegrator::kick(const vector<Vec3>& velocities, double time) {
    vector<Vec3> forces, kicked = velocities;
    context->getForces(forces);
    for (size_t i = 0; i < kicked.size(); i++)
        if (binding->masses[i] != 0)
            kicked[i] += forces[i] * (time / binding->masses[i]);
    context->setVelocities(kicked);
    context->applyVelocityConstraints(getConstraintTolerance());
    context->getVelocities(kicked);
    return kicked;
}

double AtmosIntegrator::kineticEnergy(const vector<Vec3>& velocities) const {
    double energy = 0;
    for (size_t i = 0; i < velocities.size(); i++)
        energy += 0.5 * binding->masses[i] * velocities[i].dot(velocities[i]);
    return energy;
}

void AtmosIntegrator::beginTrajectory(const Snapshot& snapshot) {
    vector<Vec3> positions = snapshot.positions;
    const double energy = checkedEnergy();
    run.stepsSinceJump = 0;
    run.jumps++;
    moveTorsions(positions, energy);
    setConstrained(positions);

    // The scheme keeps velocities half a step behind the positions; energies belong to whole steps.

    const double startEnergy = checkedEnergy();
    const vector<Vec3> velocities = drawVelocities(run.jumps - 1);
    run.startEnergy = startEnergy + kineticEnergy(velocities);
    run.startVelocities = kick(velocities, -0.5 * getStepSize());
    context->getPositions(run.startPositions);
}

void AtmosIntegrator::endTrajectory() {
    double energy = numeric_limits<double>::infinity();
    vector<Vec3> velocities;
    context->getVelocities(velocities);
    try {
        energy = potentialEnergy();
        energy += kineticEnergy(kick(velocities, 0.5 * getStepSize()));
    } catch (const OpenMMException& error) {
        if (!reportsNaN(error))
            throw;
    }
    Noise::Draws draws(run.seed, Noise::TRAJECTORIES, static_cast<uint64_t>(run.trajectoriesProposed));
    const bool isAccepted = isfinite(energy) && log(draws.uniform()) < (run.startEnergy - energy) / thermalEnergy();
    if (isAccepted) {
        context->setVelocities(velocities);
        run.trajectoriesAccepted++;
    } else {
        context->setPositions(run.startPositions);
        context->computeVirtualSites();
        context->setVelocities(run.startVelocities);
    }
    run.trajectoriesProposed++;
    run.forgetTrajectory();
}

} // namespace AtmosPlugin
