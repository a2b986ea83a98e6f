// Exact jumps and their trajectories: docs/architecture.md, "Exact jumps".

#include "Binding.h"
#include "JumpSupport.h"
#include "Noise.h"
#include "openmm/OpenMMException.h"
#include "openmm/internal/ContextImpl.h"
#include <cmath>
#include <limits>
#include <numeric>
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
    surrogate.reset();
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

int AtmosIntegrator::getTrialsPerMove() const {
    return trialsPerMove;
}

void AtmosIntegrator::setTrialsPerMove(int trials) {
    if (trials < 1)
        refuse("the number of trials a move is " + text(trials) + ", but must be 1 or more");
    trialsPerMove = trials;
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
    if (isExact && movesPerJump > 0 && moves == nullptr) {
        if (module == nullptr)
            refuse("the acceptance mode is 'metropolis', but there are no torsions to move: call setTorsionMoves(), or setMovesPerJump(0)");
        if (newBinding.screen.hasFragments())
            refuse("the acceptance mode is 'metropolis', but only parts of the module's molecule move, so that its log_ratio is not that of "
                   "what is proposed; call setTorsionMoves()");
        if (module->getStateSize() > 0)
            refuse("the acceptance mode is 'metropolis', but the module remembers a state of " + text(module->getStateSize()) +
                   " numbers, so that its log_ratio cannot be that of a way back; call setTorsionMoves(), or set a module without state");
    }
    if (dynamics != "hmc")
        return;
    if (!isExact)
        refuse("the dynamics 'hmc' needs the acceptance mode 'metropolis', but it is '" + acceptanceMode + "'");
    if (!newBinding.trajectoryObstacle.empty())
        refuse("the dynamics 'hmc' is not possible with this System: " + newBinding.trajectoryObstacle);
}

void AtmosIntegrator::stateChanged(State::DataType changed) {
    // A trajectory ends where the user changes what it is about; the next step begins another.  When a checkpoint is
    // loaded the Context calls this after loadCheckpoint() for everything that it has replaced, the energy last.

    if (!isStepping && !isLoading && (changed == State::Positions || changed == State::Velocities || changed == State::Parameters))
        run.forgetTrajectory();
    if (changed == State::Energy)
        isLoading = false;
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
    if (moves == nullptr)
        return moveByModule(positions, energy);
    if (trialsPerMove > 1)
        return moveInSeries(positions, energy);
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

bool AtmosIntegrator::tryTorsions(vector<Vec3>& positions, vector<double>& torsions, double& surrogateEnergy) {
    const auto attempt = static_cast<uint64_t>(accumulate(run.movesProposed.begin(), run.movesProposed.end(), 0ll));
    Noise::Draws draws(run.seed, Noise::TRIALS, attempt);
    TorsionMoves::Move move = moves->propose(torsions, draws);
    const vector<Vec3> before = moves->getTurned(positions, move);
    moves->apply(positions, torsions, move);
    const double newEnergy = surrogate->propose(positions, move.changed);
    run.movesProposed[static_cast<size_t>(move.kind)]++;
    const double logRatio = (surrogateEnergy - newEnergy) / thermalEnergy() + move.logRatio;

    // An energy that is not a number is less than nothing.

    if (!(log(Noise::Draws(run.seed, Noise::TRIAL_ACCEPTANCE, attempt).uniform()) < logRatio)) {
        moves->putBack(positions, move, before);
        return false;
    }
    run.movesAccepted[static_cast<size_t>(move.kind)]++;
    surrogate->accept();
    surrogateEnergy = newEnergy;
    torsions = std::move(move.torsions);
    return true;
}

bool AtmosIntegrator::moveInSeries(vector<Vec3>& positions, double energy) {
    // Trials of random kinds are reversible for the surrogate's distribution, and so is a series of them.  Its ends are
    // then in detailed balance for the System's by the difference of the two energies (Iftimie et al., J. Chem. Phys.
    // 113, 4852 (2000); Gelb, J. Chem. Phys. 118, 7747 (2003)).

    if (surrogate == nullptr)
        surrogate = makeSurrogate(context->getSystem(), torsionParameters, getIntegrationForceGroups());
    BoxVectors box;
    context->getPeriodicBoxVectors(box[0], box[1], box[2]);
    bool moved = false;
    for (int i = 0; i < movesPerJump; i++) {
        const uint64_t attempt = static_cast<uint64_t>(run.numProposed());
        vector<double> torsions = moves->measure(positions);
        vector<Vec3> proposed = positions;
        const double surrogateBefore = surrogate->begin(positions, box);
        double surrogateAfter = surrogateBefore;
        bool isChanged = false;
        for (int trial = 0; trial < trialsPerMove; trial++)
            isChanged |= tryTorsions(proposed, torsions, surrogateAfter);
        bool isAccepted = false;
        if (isChanged) {
            const double newEnergy = energyOf(proposed);
            const double logRatio = ((energy - newEnergy) - (surrogateBefore - surrogateAfter)) / thermalEnergy();
            isAccepted = log(Noise::Draws(run.seed, Noise::ACCEPTANCE, attempt).uniform()) < logRatio;
            if (isAccepted) {
                energy = newEnergy;
                swap(positions, proposed);
                moved = true;
            }
        }
        run.outcomes[static_cast<size_t>(isAccepted ? Reason::Accepted : Reason::Metropolis)]++;
    }
    return moved;
}

void AtmosIntegrator::exactJump(const Snapshot& snapshot) {
    const vector<Vec3> middle = moveToMiddle(snapshot);
    vector<Vec3> positions = middle;
    const double energy = checkedEnergy();
    run.stepsSinceJump = 0;
    run.jumps++;
    if (moveTorsions(positions, energy))
        finishStep(positions, carryVelocities(middle, positions, snapshot.velocities, run.jumps - 1));
    else
        restore(snapshot);
}

AtmosIntegrator::Points AtmosIntegrator::carryVelocities(const Points& from, const Points& to, Points velocities, long long attempt) {
    // Velocities in the middle of a step are independent of the positions, so they stay as they are while positions
    // move: drawing them anew would brake the dynamics.  What constraints forbid changes with the positions, though.
    // With Maxwell's numbers for what they forbid at the old ones these are free velocities, and at the new ones they
    // lose what is forbidden there.

    if (context->getSystem().getNumConstraints() == 0)
        return velocities;
    const vector<Vec3> thermal = thermalVelocities(attempt);
    for (size_t i = 0; i < velocities.size(); i++)
        velocities[i] -= thermal[i];
    velocities = constrainedVelocities(from, velocities);
    for (size_t i = 0; i < velocities.size(); i++)
        velocities[i] += thermal[i];
    return constrainedVelocities(to, velocities);
}

AtmosIntegrator::Points AtmosIntegrator::constrainedVelocities(const Points& positions, const Points& velocities) {
    vector<Vec3> constrained;
    context->setPositions(positions);
    context->computeVirtualSites();
    context->setVelocities(velocities);
    context->applyVelocityConstraints(getConstraintTolerance());
    context->getVelocities(constrained);
    return constrained;
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
