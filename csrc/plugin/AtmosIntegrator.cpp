#include "AtmosIntegrator.h"

#include "openmm/Context.h"
#include "openmm/OpenMMException.h"
#include "openmm/Platform.h"
#include "openmm/System.h"
#include "openmm/internal/ContextImpl.h"
#include "Binding.h"
#include "Noise.h"
#include <algorithm>
#include <cmath>
#include <sstream>

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

template <class T>
static void require(bool holds, const char* what, const T& found, const char* expected) {
    if (!holds) {
        stringstream message;
        message << "AtmosIntegrator: " << what << " is " << found << ", but must be " << expected;
        throw OpenMMException(message.str());
    }
}

AtmosIntegrator::AtmosIntegrator(double temperature, double frictionCoeff, double stepSize)
        : LangevinMiddleIntegrator(temperature, frictionCoeff, stepSize) {
}

AtmosIntegrator::~AtmosIntegrator() = default;

void AtmosIntegrator::setModule(const string& bytes, const vector<int>& indices) {
    const shared_ptr<const PropagatorModule> newModule = PropagatorModule::load(bytes);
    if (static_cast<size_t>(newModule->getNumAtoms()) != indices.size()) {
        stringstream message;
        message << "AtmosIntegrator: the propagator module moves " << newModule->getNumAtoms() << " atoms, but " << indices.size()
                << " atom indices were given";
        throw OpenMMException(message.str());
    }
    if (context != nullptr)
        binding = make_unique<Binding>(context->getSystem(), *newModule, indices, screen);

    // A state of another size belongs to another module.

    if (run.hidden.size() != static_cast<size_t>(newModule->getStateSize()))
        run.hidden.clear();
    module = newModule;
    atomIndices = indices;
}

const string& AtmosIntegrator::getModule() const {
    static const string none;
    return module == nullptr ? none : module->getBytes();
}

const vector<int>& AtmosIntegrator::getAtomIndices() const {
    return atomIndices;
}

int AtmosIntegrator::getJumpInterval() const {
    return jumpInterval;
}

void AtmosIntegrator::setJumpInterval(int steps) {
    require(steps >= 0, "the jump interval", steps, "0 or more steps");
    if (steps != jumpInterval)
        run.forgetTrajectory();
    jumpInterval = steps;
}

double AtmosIntegrator::getLag() const {
    return lag;
}

void AtmosIntegrator::setLag(double value) {
    require(value > 0 && isfinite(value), "the lag", value, "a positive time in ps");
    lag = value;
}

const string& AtmosIntegrator::getAcceptanceMode() const {
    return acceptanceMode;
}

void AtmosIntegrator::setAcceptanceMode(const string& mode) {
    require(mode == "none" || mode == "filter" || mode == "metropolis", "the acceptance mode", "'" + mode + "'",
            "'none', 'filter' or 'metropolis'");
    acceptanceMode = mode;
}

double AtmosIntegrator::getEnergyWindow() const {
    return energyWindow;
}

void AtmosIntegrator::setEnergyWindow(double width) {
    require(width > 0, "the energy window", width, "a positive number of standard deviations");
    energyWindow = width;
}

int AtmosIntegrator::getWindowSamples() const {
    return windowSamples;
}

void AtmosIntegrator::setWindowSamples(int samples) {
    require(samples >= 2, "the number of window samples", samples, "at least 2");
    windowSamples = samples;
}

const vector<int>& AtmosIntegrator::getRelaxationStages() const {
    return relaxationStages;
}

void AtmosIntegrator::setRelaxationStages(const vector<int>& iterations) {
    for (int count : iterations)
        require(count >= 1, "a relaxation stage", count, "at least 1 iteration");
    relaxationStages = iterations;
}

double AtmosIntegrator::getRelaxationTolerance() const {
    return relaxationTolerance;
}

void AtmosIntegrator::setRelaxationTolerance(double tolerance) {
    require(tolerance > 0, "the relaxation tolerance", tolerance, "a positive force in kJ/mol/nm");
    relaxationTolerance = tolerance;
}

long long AtmosIntegrator::getJumpSeed() const {
    return jumpSeed;
}

void AtmosIntegrator::setJumpSeed(long long seed) {
    require(seed >= 0, "the jump seed", seed, "0 or more");
    jumpSeed = seed;
}

long long AtmosIntegrator::getCurrentJumpSeed() const {
    return static_cast<long long>(run.seed);
}

int AtmosIntegrator::getTorchThreads() const {
    return torchThreads;
}

void AtmosIntegrator::setTorchThreads(int threads) {
    require(threads >= 0, "the number of torch threads", threads, "0 or more");
    torchThreads = threads;
}

const ScreenParameters& AtmosIntegrator::getScreen() const {
    return screen;
}

void AtmosIntegrator::setScreen(const ScreenParameters& parameters) {
    if (module != nullptr) {
        parameters.validate(module->getNumAtoms());
        if (context != nullptr)
            binding = make_unique<Binding>(context->getSystem(), *module, atomIndices, parameters);
    }
    screen = parameters;
}

const string& AtmosIntegrator::getCheckpointRestore() const {
    return checkpointRestore;
}

void AtmosIntegrator::setCheckpointRestore(const string& mode) {
    require(mode == "auto" || mode == "always" || mode == "never", "the use of checkpoints", "'" + mode + "'", "'auto', 'always' or 'never'");
    checkpointRestore = mode;
}

long long AtmosIntegrator::getNumProposed() const {
    return run.numProposed();
}

long long AtmosIntegrator::getNumAccepted() const {
    return run.outcomes[static_cast<int>(Reason::Accepted)];
}

long long AtmosIntegrator::getNumRejected() const {
    return getNumProposed() - getNumAccepted();
}

long long AtmosIntegrator::getNumRejected(const string& reason) const {
    for (int i = 1; i < NUM_REASONS; i++)
        if (reasonName(static_cast<Reason>(i)) == reason)
            return run.outcomes[i];
    string names;
    for (int i = 1; i < NUM_REASONS; i++)
        names += (i == 1 ? "" : ", ") + reasonName(static_cast<Reason>(i));
    throw OpenMMException("AtmosIntegrator: no proposal is turned down for the reason '" + reason + "'; the reasons are " + names);
}

vector<string> AtmosIntegrator::getReasonNames() {
    vector<string> names;
    for (int i = 0; i < NUM_REASONS; i++)
        names.push_back(reasonName(static_cast<Reason>(i)));
    return names;
}

double AtmosIntegrator::getLearnedTime() const {
    return run.learnedTime;
}

long long AtmosIntegrator::getStepsSinceJump() const {
    return run.stepsSinceJump;
}

vector<double> AtmosIntegrator::getHiddenState() const {
    return vector<double>(run.hidden.begin(), run.hidden.end());
}

void AtmosIntegrator::setHiddenState(const vector<double>& state) {
    if (module != nullptr && !state.empty() && state.size() != static_cast<size_t>(module->getStateSize())) {
        stringstream message;
        message << "AtmosIntegrator: the hidden state has " << state.size() << " numbers, but the module's has " << module->getStateSize()
                << " (or give none for no history)";
        throw OpenMMException(message.str());
    }
    for (double value : state)
        require(isfinite(value), "a number of the hidden state", value, "finite");
    run.hidden.assign(state.begin(), state.end());
}

EnergyConditions AtmosIntegrator::energyConditions() const {
    EnergyConditions conditions{getTemperature(), getIntegrationForceGroups(), {}};
    if (context != nullptr)
        conditions.parameters = context->getParameters();
    return conditions;
}

long long AtmosIntegrator::getNumWindowSamples() const {
    return run.energies.find(energyConditions()).count;
}

double AtmosIntegrator::getWindowMean() const {
    return run.energies.find(energyConditions()).mean;
}

double AtmosIntegrator::getWindowStandardDeviation() const {
    return run.energies.find(energyConditions()).standardDeviation();
}

void AtmosIntegrator::setWindowStatistics(long long samples, double mean, double standardDeviation) {
    require(samples >= 0, "the number of window samples", samples, "0 or more");
    require(isfinite(mean), "the mean of the energies", mean, "finite");
    require(standardDeviation >= 0 && isfinite(standardDeviation), "the standard deviation of the energies", standardDeviation, "0 or more");
    EnergyStatistics statistics;
    if (samples > 0)
        statistics = {samples, mean, standardDeviation * standardDeviation * static_cast<double>(samples - 1)};
    if (context == nullptr)
        run.energies.setUnassigned(statistics);
    else
        run.energies.use(energyConditions()) = statistics;
}

const Proposal& AtmosIntegrator::getLastProposal() const {
    if (acceptanceMode == "metropolis")
        throw OpenMMException("AtmosIntegrator: the moves of exact jumps are not kept, as there are thousands a second; "
                              "getNumMovesProposed() and getNumMovesAccepted() count them");
    if (lastProposal.attempt < 0)
        throw OpenMMException("AtmosIntegrator: no jump has been proposed yet");
    return lastProposal;
}

vector<Proposal> AtmosIntegrator::takeProposals() {
    vector<Proposal> taken(pending.begin(), pending.end());
    pending.clear();
    return taken;
}

int AtmosIntegrator::getProposalCapacity() const {
    return proposalCapacity;
}

bool AtmosIntegrator::getKeepProposalPositions() const {
    return keepProposalPositions;
}

void AtmosIntegrator::setProposalRecording(int capacity, bool keepPositions) {
    require(capacity >= 0, "the number of proposals to keep", capacity, "0 or more");
    proposalCapacity = capacity;
    keepProposalPositions = keepPositions;
}

long long AtmosIntegrator::getNumDroppedProposals() const {
    return numDropped;
}

void AtmosIntegrator::initialize(ContextImpl& contextRef) {
    // Check first, so that an integrator that does not fit can be mended and used.

    auto newBinding = module == nullptr ? make_unique<Binding>(contextRef.getSystem())
                                        : make_unique<Binding>(contextRef.getSystem(), *module, atomIndices, screen);
    if (jumpInterval > 0)
        checkReady(*newBinding);
    if (moves != nullptr)
        moves->checkSystem(contextRef.getSystem());
    LangevinMiddleIntegrator::initialize(contextRef);
    binding = std::move(newBinding);
    surrogate.reset();

    // A reinitialized Context starts afresh.  Where its state is preserved, a checkpoint is loaded next.

    if (wasInitialized)
        run = RunState();
    wasInitialized = true;
    run.seed = jumpSeed == 0 ? Noise::drawSeed() : static_cast<uint64_t>(jumpSeed);
}

void AtmosIntegrator::createCheckpoint(ostream& stream) const {
    run.write(stream);
}

void AtmosIntegrator::loadCheckpoint(istream& stream) {
    RunState loaded;
    loaded.read(stream);
    if (module != nullptr && !loaded.hidden.empty() && loaded.hidden.size() != static_cast<size_t>(module->getStateSize()))
        throw OpenMMException("AtmosIntegrator: the checkpoint belongs to a run with another propagator module: its hidden state has another size");
    run = loaded;
    isLoading = true;
}

void AtmosIntegrator::serializeParameters(SerializationNode& node) const {
    run.write(node);
}

void AtmosIntegrator::deserializeParameters(const SerializationNode& node) {
    RunState loaded;

    // The State of a plain integrator holds no parameters.  It is a fine start for a hybrid run.

    if (node.getProperties().empty() && node.getChildren().empty())
        loaded.seed = run.seed;
    else
        loaded.read(node);
    if (module != nullptr && !loaded.hidden.empty() && loaded.hidden.size() != static_cast<size_t>(module->getStateSize()))
        throw OpenMMException("AtmosIntegrator: the State belongs to a run with another propagator module: its hidden state has another size");
    run = loaded;
}

/** Sets a value and puts the old one back. */
template <class Set, class T>
struct Temporarily {
    Temporarily(Set set, T value, T old) : set(set), old(old) { set(value); }
    ~Temporarily() { set(old); }
    Set set;
    T old;
};

void AtmosIntegrator::step(int steps) {
    if (context == nullptr)
        throw OpenMMException("This Integrator is not bound to a context!");
    if (jumpInterval == 0) {
        LangevinMiddleIntegrator::step(steps);
        return;
    }
    checkReady(*binding);
    isLoading = false;
    const Temporarily mark([this](bool value) { isStepping = value; }, true, false);
    const bool hasTrajectories = dynamics == "hmc";
    while (steps > 0) {
        if (hasTrajectories && run.isInTrajectory() && run.stepsSinceJump >= jumpInterval)
            endTrajectory();
        if (hasTrajectories ? !run.isInTrajectory() : run.stepsSinceJump >= jumpInterval)
            performJump();
        const int chunk = static_cast<int>(min<long long>(steps, jumpInterval - run.stepsSinceJump));
        takeSteps(chunk);
        steps -= chunk;
        if (hasTrajectories && run.stepsSinceJump >= jumpInterval)
            endTrajectory();
    }
}

void AtmosIntegrator::takeSteps(int steps) {
    // Without friction the steps are those of the leapfrog scheme.

    const Temporarily keep([this](double friction) { setFriction(friction); }, dynamics == "hmc" ? 0.0 : getFriction(), getFriction());
    const long long start = context->getStepCount();
    try {
        LangevinMiddleIntegrator::step(steps);
    } catch (...) {
        // The steps before the one that failed count.

        run.stepsSinceJump += context->getStepCount() - start;
        throw;
    }
    run.stepsSinceJump += steps;
}

} // namespace AtmosPlugin
