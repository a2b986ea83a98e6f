#include "RunState.h"

#include "Base64.h"
#include "openmm/OpenMMException.h"
#include <cmath>
#include <cstring>
#include <istream>
#include <ostream>

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

// "ATMOS" and the version of the layout that follows.
static const char CHECKPOINT_MAGIC[8] = {'A', 'T', 'M', 'O', 'S', 'C', 'P', '1'};

// No module keeps more than this many numbers in its state; a larger count means a damaged file.
static const uint64_t MAX_HIDDEN = 1ull << 32;

long long RunState::numProposed() const {
    long long total = 0;
    for (long long count : outcomes)
        total += count;
    return total;
}

void RunState::addWindowEnergy(double energy) {
    windowCount++;
    const double delta = energy - windowMean;
    windowMean += delta / static_cast<double>(windowCount);
    windowSumSquares += delta * (energy - windowMean);
}

double RunState::windowStandardDeviation() const {
    return windowCount < 2 ? 0.0 : sqrt(windowSumSquares / static_cast<double>(windowCount - 1));
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

void RunState::write(ostream& stream) const {
    stream.write(CHECKPOINT_MAGIC, sizeof(CHECKPOINT_MAGIC));
    writeValue(stream, stepsSinceJump);
    writeValue(stream, outcomes);
    writeValue(stream, learnedTime);
    writeValue(stream, seed);
    writeValue(stream, windowCount);
    writeValue(stream, windowMean);
    writeValue(stream, windowSumSquares);
    writeValue(stream, static_cast<uint64_t>(hidden.size()));
    stream.write(reinterpret_cast<const char*>(hidden.data()), static_cast<streamsize>(hidden.size() * sizeof(float)));
}

void RunState::read(istream& stream) {
    char magic[sizeof(CHECKPOINT_MAGIC)] = {};
    stream.read(magic, sizeof(magic));
    if (!stream || memcmp(magic, CHECKPOINT_MAGIC, sizeof(magic)) != 0)
        throw OpenMMException("AtmosIntegrator: the checkpoint holds no data of an AtmosIntegrator; it was written by another "
                              "integrator.  Load it with that integrator, or start from a State XML file");
    RunState loaded;
    uint64_t numHidden = 0;
    readValue(stream, loaded.stepsSinceJump);
    readValue(stream, loaded.outcomes);
    readValue(stream, loaded.learnedTime);
    readValue(stream, loaded.seed);
    readValue(stream, loaded.windowCount);
    readValue(stream, loaded.windowMean);
    readValue(stream, loaded.windowSumSquares);
    readValue(stream, numHidden);
    if (numHidden > MAX_HIDDEN)
        throw OpenMMException("AtmosIntegrator: the checkpoint is damaged");
    loaded.hidden.resize(numHidden);
    stream.read(reinterpret_cast<char*>(loaded.hidden.data()), static_cast<streamsize>(numHidden * sizeof(float)));
    if (!stream)
        throw OpenMMException("AtmosIntegrator: the checkpoint ends early; it is damaged");
    *this = loaded;
}

void RunState::write(SerializationNode& node) const {
    node.setIntProperty("atmosVersion", 1);
    node.setLongProperty("stepsSinceJump", stepsSinceJump);
    SerializationNode& counts = node.createChildNode("Proposals");
    for (int i = 0; i < NUM_REASONS; i++)
        counts.setLongProperty(reasonName(static_cast<Reason>(i)), outcomes[i]);
    node.setDoubleProperty("learnedTime", learnedTime);
    node.setLongProperty("seed", static_cast<long long>(seed));
    node.setLongProperty("windowCount", windowCount);
    node.setDoubleProperty("windowMean", windowMean);
    node.setDoubleProperty("windowSumSquares", windowSumSquares);
    node.setStringProperty("hidden", encodeBase64(string(reinterpret_cast<const char*>(hidden.data()), hidden.size() * sizeof(float))));
}

void RunState::read(const SerializationNode& node) {
    if (!node.hasProperty("atmosVersion"))
        throw OpenMMException("AtmosIntegrator: the State holds the parameters of another kind of integrator");
    if (node.getIntProperty("atmosVersion") != 1)
        throw OpenMMException("AtmosIntegrator: the State was written by a newer version of atmos-openmm");
    RunState loaded;
    loaded.stepsSinceJump = node.getLongProperty("stepsSinceJump");
    const SerializationNode& counts = node.getChildNode("Proposals");
    for (int i = 0; i < NUM_REASONS; i++)
        loaded.outcomes[i] = counts.getLongProperty(reasonName(static_cast<Reason>(i)));
    loaded.learnedTime = node.getDoubleProperty("learnedTime");
    loaded.seed = static_cast<uint64_t>(node.getLongProperty("seed"));
    loaded.windowCount = node.getLongProperty("windowCount");
    loaded.windowMean = node.getDoubleProperty("windowMean");
    loaded.windowSumSquares = node.getDoubleProperty("windowSumSquares");
    const string bytes = decodeBase64(node.getStringProperty("hidden"));
    if (bytes.size() % sizeof(float) != 0)
        throw OpenMMException("AtmosIntegrator: the hidden state in the State is damaged");
    loaded.hidden.resize(bytes.size() / sizeof(float));
    memcpy(loaded.hidden.data(), bytes.data(), bytes.size());
    *this = loaded;
}

} // namespace AtmosPlugin
