#include "RunState.h"

#include "Base64.h"
#include "openmm/OpenMMException.h"
#include <cstring>
#include <istream>
#include <ostream>

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

// "ATMOS", followed by the version of the layout that comes next.
static const char CHECKPOINT_MAGIC[7] = {'A', 'T', 'M', 'O', 'S', 'C', 'P'};
static const int VERSION = 3;

// Version 1 knew no torsional moves, and neither the last reason; version 2 one window, whatever the temperature.
static const int NUM_REASONS_1 = 11;

// No list has more than this many numbers; a larger count means a damaged file.
static const uint64_t MAX_COUNT = 1ull << 32;

long long RunState::numProposed() const {
    long long total = 0;
    for (long long count : outcomes)
        total += count;
    return total;
}

void RunState::forgetTrajectory() {
    startPositions.clear();
    startVelocities.clear();
    startEnergy = 0;
}

template <class T>
static void writeValue(ostream& stream, const T& value) {
    stream.write(reinterpret_cast<const char*>(&value), sizeof(T));
}

template <class T>
static void readValue(istream& stream, T& value) {
    stream.read(reinterpret_cast<char*>(&value), sizeof(T));
    if (!stream)
        throw OpenMMException("AtmosIntegrator: the checkpoint ends early; it was written by another integrator or is damaged");
}

static uint64_t readCount(istream& stream) {
    uint64_t count = 0;
    readValue(stream, count);
    if (count > MAX_COUNT)
        throw OpenMMException("AtmosIntegrator: the checkpoint is damaged");
    return count;
}

template <class T>
static void writeList(ostream& stream, const vector<T>& values) {
    writeValue(stream, static_cast<uint64_t>(values.size()));
    stream.write(reinterpret_cast<const char*>(values.data()), static_cast<streamsize>(values.size() * sizeof(T)));
}

template <class T>
static void readList(istream& stream, vector<T>& values) {
    const uint64_t count = readCount(stream);
    values.resize(count);
    stream.read(reinterpret_cast<char*>(values.data()), static_cast<streamsize>(count * sizeof(T)));
    if (!stream)
        throw OpenMMException("AtmosIntegrator: the checkpoint ends early; it is damaged");
}

static void writeWindows(ostream& stream, const vector<EnergyWindows::Window>& windows) {
    writeValue(stream, static_cast<uint64_t>(windows.size()));
    for (const auto& [conditions, statistics] : windows) {
        writeValue(stream, statistics);
        stream.put(conditions ? 1 : 0);
        if (!conditions)
            continue;
        writeValue(stream, conditions->temperature);
        writeValue(stream, conditions->forceGroups);
        writeValue(stream, static_cast<uint64_t>(conditions->parameters.size()));
        for (const auto& [name, value] : conditions->parameters) {
            writeList(stream, vector<char>(name.begin(), name.end()));
            writeValue(stream, value);
        }
    }
}

static vector<EnergyWindows::Window> readWindows(istream& stream) {
    vector<EnergyWindows::Window> windows;
    for (uint64_t left = readCount(stream); left > 0; left--) {
        EnergyWindows::Window& window = windows.emplace_back();
        readValue(stream, window.statistics);
        char hasConditions = 0;
        readValue(stream, hasConditions);
        if (!hasConditions)
            continue;
        EnergyConditions& conditions = window.conditions.emplace();
        readValue(stream, conditions.temperature);
        readValue(stream, conditions.forceGroups);
        for (uint64_t parameters = readCount(stream); parameters > 0; parameters--) {
            vector<char> name;
            readList(stream, name);
            readValue(stream, conditions.parameters[string(name.begin(), name.end())]);
        }
    }
    return windows;
}

/** The one window of version 2, whose temperature is not known. */
static vector<EnergyWindows::Window> oldWindow(const EnergyStatistics& statistics) {
    return statistics.count == 0 ? vector<EnergyWindows::Window>() : vector<EnergyWindows::Window>{{nullopt, statistics}};
}

void RunState::write(ostream& stream) const {
    stream.write(CHECKPOINT_MAGIC, sizeof(CHECKPOINT_MAGIC));
    stream.put(static_cast<char>('0' + VERSION));
    writeValue(stream, stepsSinceJump);
    writeValue(stream, outcomes);
    writeValue(stream, learnedTime);
    writeValue(stream, seed);
    writeWindows(stream, energies.getWindows());
    writeValue(stream, movesProposed);
    writeValue(stream, movesAccepted);
    writeValue(stream, jumps);
    writeValue(stream, trajectoriesProposed);
    writeValue(stream, trajectoriesAccepted);
    writeValue(stream, startEnergy);
    writeList(stream, startPositions);
    writeList(stream, startVelocities);
    writeList(stream, hidden);
}

void RunState::read(istream& stream) {
    char magic[sizeof(CHECKPOINT_MAGIC) + 1] = {};
    stream.read(magic, sizeof(magic));
    const int version = magic[sizeof(CHECKPOINT_MAGIC)] - '0';
    if (!stream || memcmp(magic, CHECKPOINT_MAGIC, sizeof(CHECKPOINT_MAGIC)) != 0 || version < 1)
        throw OpenMMException("AtmosIntegrator: the checkpoint holds no data of an AtmosIntegrator; it was written by another "
                              "integrator.  Load it with that integrator, or start from a State XML file");
    if (version > VERSION)
        throw OpenMMException("AtmosIntegrator: the checkpoint was written by a newer version of atmos-openmm");
    RunState loaded;
    readValue(stream, loaded.stepsSinceJump);
    const int numReasons = version == 1 ? NUM_REASONS_1 : NUM_REASONS;
    for (int i = 0; i < numReasons; i++)
        readValue(stream, loaded.outcomes[i]);
    readValue(stream, loaded.learnedTime);
    readValue(stream, loaded.seed);
    if (version > 2)
        loaded.energies.setWindows(readWindows(stream));
    else {
        EnergyStatistics statistics;
        readValue(stream, statistics);
        loaded.energies.setWindows(oldWindow(statistics));
    }
    if (version > 1) {
        readValue(stream, loaded.movesProposed);
        readValue(stream, loaded.movesAccepted);
        readValue(stream, loaded.jumps);
        readValue(stream, loaded.trajectoriesProposed);
        readValue(stream, loaded.trajectoriesAccepted);
        readValue(stream, loaded.startEnergy);
        readList(stream, loaded.startPositions);
        readList(stream, loaded.startVelocities);
    }
    readList(stream, loaded.hidden);
    *this = loaded;
}

template <class T>
static string encodeList(const vector<T>& values) {
    return encodeBase64(string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)));
}

template <class T>
static vector<T> decodeList(const string& text, const char* what) {
    const string bytes = decodeBase64(text);
    if (bytes.size() % sizeof(T) != 0)
        throw OpenMMException(string("AtmosIntegrator: the ") + what + " in the State is damaged");
    vector<T> values(bytes.size() / sizeof(T));
    memcpy(static_cast<void*>(values.data()), bytes.data(), bytes.size());
    return values;
}

static void writeWindows(SerializationNode& node, const vector<EnergyWindows::Window>& windows) {
    for (const auto& [conditions, statistics] : windows) {
        SerializationNode& child = node.createChildNode("Window");
        child.setLongProperty("count", statistics.count);
        child.setDoubleProperty("mean", statistics.mean);
        child.setDoubleProperty("sumSquares", statistics.sumSquares);
        if (!conditions)
            continue;
        child.setDoubleProperty("temperature", conditions->temperature);
        child.setIntProperty("forceGroups", conditions->forceGroups);
        for (const auto& [name, value] : conditions->parameters)
            child.createChildNode("Parameter").setStringProperty("name", name).setDoubleProperty("value", value);
    }
}

static vector<EnergyWindows::Window> readWindows(const SerializationNode& node) {
    vector<EnergyWindows::Window> windows;
    for (const SerializationNode& child : node.getChildren()) {
        EnergyWindows::Window& window = windows.emplace_back();
        window.statistics = {child.getLongProperty("count"), child.getDoubleProperty("mean"), child.getDoubleProperty("sumSquares")};
        if (!child.hasProperty("temperature"))
            continue;
        EnergyConditions& conditions = window.conditions.emplace();
        conditions.temperature = child.getDoubleProperty("temperature");
        conditions.forceGroups = child.getIntProperty("forceGroups");
        for (const SerializationNode& parameter : child.getChildren())
            conditions.parameters[parameter.getStringProperty("name")] = parameter.getDoubleProperty("value");
    }
    return windows;
}

void RunState::write(SerializationNode& node) const {
    node.setIntProperty("atmosVersion", VERSION);
    node.setLongProperty("stepsSinceJump", stepsSinceJump);
    SerializationNode& counts = node.createChildNode("Proposals");
    for (int i = 0; i < NUM_REASONS; i++)
        counts.setLongProperty(reasonName(static_cast<Reason>(i)), outcomes[i]);
    node.setDoubleProperty("learnedTime", learnedTime);
    node.setLongProperty("seed", static_cast<long long>(seed));
    writeWindows(node.createChildNode("Windows"), energies.getWindows());
    node.setStringProperty("hidden", encodeList(hidden));
    SerializationNode& moves = node.createChildNode("Moves");
    for (int i = 0; i < NUM_MOVE_KINDS; i++)
        moves.createChildNode(moveKindName(static_cast<MoveKind>(i)))
                .setLongProperty("proposed", movesProposed[i])
                .setLongProperty("accepted", movesAccepted[i]);
    node.setLongProperty("jumps", jumps);
    SerializationNode& trajectories = node.createChildNode("Trajectories");
    trajectories.setLongProperty("proposed", trajectoriesProposed);
    trajectories.setLongProperty("accepted", trajectoriesAccepted);
    trajectories.setDoubleProperty("startEnergy", startEnergy);
    trajectories.setStringProperty("startPositions", encodeList(startPositions));
    trajectories.setStringProperty("startVelocities", encodeList(startVelocities));
}

void RunState::read(const SerializationNode& node) {
    if (!node.hasProperty("atmosVersion"))
        throw OpenMMException("AtmosIntegrator: the State holds the parameters of another kind of integrator");
    const int version = node.getIntProperty("atmosVersion");
    if (version < 1 || version > VERSION)
        throw OpenMMException("AtmosIntegrator: the State was written by a newer version of atmos-openmm");
    RunState loaded;
    loaded.stepsSinceJump = node.getLongProperty("stepsSinceJump");
    const SerializationNode& counts = node.getChildNode("Proposals");
    for (int i = 0; i < (version == 1 ? NUM_REASONS_1 : NUM_REASONS); i++)
        loaded.outcomes[i] = counts.getLongProperty(reasonName(static_cast<Reason>(i)));
    loaded.learnedTime = node.getDoubleProperty("learnedTime");
    loaded.seed = static_cast<uint64_t>(node.getLongProperty("seed"));
    loaded.energies.setWindows(version > 2 ? readWindows(node.getChildNode("Windows"))
                                           : oldWindow({node.getLongProperty("windowCount"), node.getDoubleProperty("windowMean"),
                                                        node.getDoubleProperty("windowSumSquares")}));
    loaded.hidden = decodeList<float>(node.getStringProperty("hidden"), "hidden state");
    if (version > 1) {
        for (int i = 0; i < NUM_MOVE_KINDS; i++) {
            const SerializationNode& kind = node.getChildNode("Moves").getChildNode(moveKindName(static_cast<MoveKind>(i)));
            loaded.movesProposed[i] = kind.getLongProperty("proposed");
            loaded.movesAccepted[i] = kind.getLongProperty("accepted");
        }
        loaded.jumps = node.getLongProperty("jumps");
        const SerializationNode& trajectories = node.getChildNode("Trajectories");
        loaded.trajectoriesProposed = trajectories.getLongProperty("proposed");
        loaded.trajectoriesAccepted = trajectories.getLongProperty("accepted");
        loaded.startEnergy = trajectories.getDoubleProperty("startEnergy");
        loaded.startPositions = decodeList<Vec3>(trajectories.getStringProperty("startPositions"), "start of the trajectory");
        loaded.startVelocities = decodeList<Vec3>(trajectories.getStringProperty("startVelocities"), "start of the trajectory");
    }
    *this = loaded;
}

} // namespace AtmosPlugin
