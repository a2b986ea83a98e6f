#include "Base64.h"
#include "RunState.h"
#include "check.h"

#include <cmath>
#include <cstring>

using namespace AtmosPlugin;
using namespace OpenMM;
using namespace std;

namespace {

/** A state in which every number is another and hard to round. */
RunState example() {
    RunState state;
    state.stepsSinceJump = 123456789012345;
    for (int i = 0; i < NUM_REASONS; i++)
        state.outcomes[i] = 1000 + i;
    state.learnedTime = 1.0 / 3.0;
    state.seed = (1ull << 53) - 1;
    state.hidden = {0.1f, -0.0f, 1e-45f, 3.4e38f, static_cast<float>(M_PI)};
    state.energies.setUnassigned({17, -1234.5678901234567, 5e-324});
    state.energies.use({1.0 / 3.0, 5, {{"a < b", 1e-300}, {"", -0.0}}}).add(-2);
    state.energies.use({300, -1, {}}) = {18, 1.0 / 7.0, 2};
    for (int i = 0; i < NUM_MOVE_KINDS; i++) {
        state.movesProposed[i] = 2000 + i;
        state.movesAccepted[i] = 100 + i;
    }
    state.jumps = 77;
    state.trajectoriesProposed = 76;
    state.trajectoriesAccepted = 75;
    state.startEnergy = -1.0 / 7.0;
    state.startPositions = {Vec3(0.1, -0.0, 1e-300), Vec3(1, 2, 3)};
    state.startVelocities = {Vec3(M_PI, 0, 4), Vec3(-1, -2, -3)};
    return state;
}

void checkEqual(const RunState& found, const RunState& expected) {
    CHECK_EQUAL(found.stepsSinceJump, expected.stepsSinceJump);
    CHECK(found.outcomes == expected.outcomes);
    CHECK_EQUAL(found.learnedTime, expected.learnedTime);
    CHECK_EQUAL(found.seed, expected.seed);
    CHECK(found.energies == expected.energies);
    CHECK(found.movesProposed == expected.movesProposed);
    CHECK(found.movesAccepted == expected.movesAccepted);
    CHECK_EQUAL(found.jumps, expected.jumps);
    CHECK_EQUAL(found.trajectoriesProposed, expected.trajectoriesProposed);
    CHECK_EQUAL(found.trajectoriesAccepted, expected.trajectoriesAccepted);
    CHECK_EQUAL(found.startEnergy, expected.startEnergy);
    CHECK(found.startPositions == expected.startPositions);
    CHECK(found.startVelocities == expected.startVelocities);
    CHECK_EQUAL(found.hidden.size(), expected.hidden.size());
    CHECK(found.hidden.size() == expected.hidden.size() &&
          memcmp(found.hidden.data(), expected.hidden.data(), expected.hidden.size() * sizeof(float)) == 0);
}

string written(const RunState& state) {
    stringstream stream;
    state.write(stream);
    return stream.str();
}

/** Reading fails with a message that holds the text, and changes nothing. */
void checkRefused(const string& bytes, const char* text) {
    RunState state = example();
    stringstream stream(bytes);
    CHECK_THROWS(state.read(stream), text);
    checkEqual(state, example());
}

SerializationNode node(const RunState& state) {
    SerializationNode result;
    state.write(result);
    return result;
}

/** The parameters of the example with one of them changed. */
SerializationNode changed(const string& name, const string& value) {
    const SerializationNode whole = node(example());
    SerializationNode result;
    for (const auto& [key, old] : whole.getProperties())
        result.setStringProperty(key, key == name ? value : old);
    result.getChildren() = whole.getChildren();
    return result;
}

void checkRefused(const SerializationNode& node, const char* text) {
    RunState state = example();
    CHECK_THROWS(state.read(node), text);
    checkEqual(state, example());
}

} // namespace

TEST(run_state, energies_have_their_mean_and_sample_deviation) {
    EnergyStatistics known;
    CHECK_EQUAL(known.standardDeviation(), 0.0);
    known.add(-7);
    CHECK_EQUAL(known.mean, -7.0);
    CHECK_EQUAL(known.standardDeviation(), 0.0);
    for (double energy : {-5.0, -6.0, -2.0})
        known.add(energy);
    CHECK_EQUAL(known.count, 4);
    CHECK_NEAR(known.mean, -5.0, 1e-15);
    CHECK_NEAR(known.standardDeviation(), sqrt(14.0 / 3.0), 1e-15);
}

TEST(run_state, energies_are_apart_for_each_temperature_and_parameter) {
    EnergyWindows energies;
    const EnergyConditions hot{450, -1, {{"lambda", 0.5}}}, cold{300, -1, {{"lambda", 0.5}}}, coupled{300, -1, {{"lambda", 1}}}, part{300, 1, {{"lambda", 1}}};
    energies.use(hot).add(70);
    CHECK_EQUAL(energies.find(cold).count, 0);
    energies.use(cold).add(-17);
    energies.use(coupled).add(-30);
    energies.use(part).add(-3);
    CHECK_EQUAL(energies.find(hot).mean, 70.0);
    CHECK_EQUAL(energies.find(cold).mean, -17.0);
    CHECK_EQUAL(energies.find(coupled).mean, -30.0);
    CHECK_EQUAL(energies.find(part).mean, -3.0);
    CHECK_EQUAL(energies.use(hot).count, 1);
    CHECK_EQUAL(energies.getWindows().size(), 4u);
}

TEST(run_state, energies_of_unknown_conditions_are_those_of_the_next) {
    EnergyWindows energies;
    energies.setUnassigned({3, -1, 2});
    CHECK_EQUAL(energies.find({300, -1, {}}).count, 3);
    energies.use({300, -1, {}}).add(-1);
    CHECK_EQUAL(energies.find({300, -1, {}}).count, 4);
    CHECK_EQUAL(energies.find({310, -1, {}}).count, 0);
}

TEST(run_state, energies_that_were_used_last_are_kept) {
    EnergyWindows energies;
    const double kept = 300;
    for (size_t i = 0; i <= EnergyWindows::CAPACITY; i++) {
        energies.use({1000.0 + static_cast<double>(i), -1, {}}).add(1);
        energies.use({kept, -1, {}}).add(1);
    }
    CHECK_EQUAL(energies.getWindows().size(), EnergyWindows::CAPACITY);
    CHECK_EQUAL(energies.find({1000, -1, {}}).count, 0);
    CHECK_EQUAL(energies.find({kept, -1, {}}).count, static_cast<long long>(EnergyWindows::CAPACITY) + 1);
}

TEST(run_state, proposals_are_the_sum_of_the_outcomes) {
    CHECK_EQUAL(example().numProposed(), 1000 * NUM_REASONS + NUM_REASONS * (NUM_REASONS - 1) / 2);
}

TEST(run_state, survives_a_checkpoint_to_the_bit) {
    for (const RunState& state : {example(), RunState()}) {
        RunState found;
        stringstream stream(written(state) + "more");
        found.read(stream);
        checkEqual(found, state);

        // It takes what is its own and no more.

        string rest;
        stream >> rest;
        CHECK_EQUAL(rest, "more");
    }
}

static const EnergyStatistics OLD_WINDOW{17, -1234.5678901234567, 5e-324};

/** The example as far as version 2 knew it: with one window, of a temperature that is not known. */
static RunState secondVersion() {
    RunState state = example();
    state.energies = EnergyWindows();
    state.energies.setUnassigned(OLD_WINDOW);
    return state;
}

/** The example as far as version 1 knew it. */
static RunState firstVersion() {
    RunState state = secondVersion();
    state.outcomes[NUM_REASONS - 1] = 0;
    state.movesProposed = state.movesAccepted = {};
    state.jumps = state.trajectoriesProposed = state.trajectoriesAccepted = 0;
    state.forgetTrajectory();
    return state;
}

/** Parameters as versions 1 and 2 wrote them. */
static SerializationNode oldParameters(const RunState& state, const char* version) {
    const SerializationNode whole = node(state);
    SerializationNode old;
    for (const auto& [key, value] : whole.getProperties())
        old.setStringProperty(key, key == "atmosVersion" ? version : value);
    old.setLongProperty("windowCount", OLD_WINDOW.count);
    old.setDoubleProperty("windowMean", OLD_WINDOW.mean);
    old.setDoubleProperty("windowSumSquares", OLD_WINDOW.sumSquares);
    for (const SerializationNode& child : whole.getChildren())
        if (child.getName() != "Windows")
            old.getChildren().push_back(child);
    return old;
}

TEST(run_state, checkpoints_of_version_2_are_read) {
    const RunState expected = secondVersion();
    stringstream stream;
    const auto put = [&](const auto& value) { stream.write(reinterpret_cast<const char*>(&value), sizeof(value)); };
    const auto putList = [&](const auto& values) {
        put(static_cast<uint64_t>(values.size()));
        for (const auto& value : values)
            put(value);
    };
    stream.write("ATMOSCP2", 8);
    put(expected.stepsSinceJump);
    put(expected.outcomes);
    put(expected.learnedTime);
    put(expected.seed);
    put(OLD_WINDOW.count);
    put(OLD_WINDOW.mean);
    put(OLD_WINDOW.sumSquares);
    put(expected.movesProposed);
    put(expected.movesAccepted);
    put(expected.jumps);
    put(expected.trajectoriesProposed);
    put(expected.trajectoriesAccepted);
    put(expected.startEnergy);
    putList(expected.startPositions);
    putList(expected.startVelocities);
    putList(expected.hidden);
    RunState found = example();
    found.read(stream);
    checkEqual(found, expected);
}

TEST(run_state, parameters_of_version_2_are_read) {
    RunState found = example();
    found.read(oldParameters(secondVersion(), "2"));
    checkEqual(found, secondVersion());
}

TEST(run_state, checkpoints_of_version_1_are_read) {
    const RunState expected = firstVersion();
    stringstream stream;
    const auto put = [&](const auto& value) { stream.write(reinterpret_cast<const char*>(&value), sizeof(value)); };
    stream.write("ATMOSCP1", 8);
    put(expected.stepsSinceJump);
    for (int i = 0; i < 11; i++)
        put(expected.outcomes[i]);
    put(expected.learnedTime);
    put(expected.seed);
    put(OLD_WINDOW.count);
    put(OLD_WINDOW.mean);
    put(OLD_WINDOW.sumSquares);
    put(static_cast<uint64_t>(expected.hidden.size()));
    for (float number : expected.hidden)
        put(number);
    RunState found = example();
    found.read(stream);
    checkEqual(found, expected);
}

TEST(run_state, parameters_of_version_1_are_read) {
    const SerializationNode whole = oldParameters(firstVersion(), "1");
    SerializationNode old;
    for (const auto& [key, value] : whole.getProperties())
        if (key != "jumps")
            old.setStringProperty(key, value);
    SerializationNode& counts = old.createChildNode("Proposals");
    for (const auto& [key, value] : whole.getChildNode("Proposals").getProperties())
        if (key != "metropolis")
            counts.setStringProperty(key, value);
    RunState found = example();
    found.read(old);
    checkEqual(found, firstVersion());
}

TEST(run_state, checkpoints_cut_short_are_refused) {
    const string bytes = written(example());
    for (size_t length = 0; length < bytes.size(); length++)
        checkRefused(bytes.substr(0, length), length < 8 ? "holds no data of an AtmosIntegrator" : "ends early");
}

TEST(run_state, checkpoints_of_others_are_refused) {
    string bytes = written(example());
    bytes[7] = '0';
    checkRefused(bytes, "holds no data of an AtmosIntegrator");
    bytes[7] = '4';
    checkRefused(bytes, "newer version");

    // A count of hidden numbers beyond all reason.

    bytes = written(RunState());
    bytes.replace(bytes.size() - 8, 8, string(8, '\x7f'));
    checkRefused(bytes, "the checkpoint is damaged");
}

TEST(run_state, survives_the_parameters_of_a_state_to_the_bit) {
    for (const RunState& state : {example(), RunState()}) {
        RunState found = example();
        found.read(node(state));
        checkEqual(found, state);
    }
}

TEST(run_state, parameters_of_others_are_refused) {
    SerializationNode other;
    other.setIntProperty("stepsSinceJump", 3);
    checkRefused(other, "parameters of another kind of integrator");
    checkRefused(changed("atmosVersion", "4"), "newer version");
    checkRefused(changed("hidden", encodeBase64("12345")), "hidden state in the State is damaged");
    checkRefused(changed("hidden", "?"), "not base64 text");
}
