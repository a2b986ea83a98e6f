// Takes the place of the TorchScript backend: the archive "ATOMS STATE NOISE" is a module with these
// sizes that leaves the positions as they are and adds the first noise to the state.

#include "PropagatorModule.h"

#include <atomic>
#include <chrono>
#include <sstream>
#include <stdexcept>
#include <thread>

using namespace std;

namespace {

atomic<int> numLoaded{0}, numAlive{0};

class StubModule : public AtmosPlugin::PropagatorModule {
public:
    explicit StubModule(const string& bytes) : PropagatorModule(bytes) {
        stringstream stream(bytes);
        if (!(stream >> numAtoms >> stateSize >> noiseSize))
            throw runtime_error("this is no archive");

        // As long as it takes other threads to ask for the same.

        this_thread::sleep_for(chrono::milliseconds(5));
        numLoaded++;
        numAlive++;
    }
    ~StubModule() override {
        numAlive--;
    }
    int getNumAtoms() const override {
        return numAtoms;
    }
    int getStateSize() const override {
        return stateSize;
    }
    int getNoiseSize() const override {
        return noiseSize;
    }
    Result propagate(const vector<float>& positions, const vector<float>& state, const vector<float>& noise, double /*lag*/,
                     double /*temperature*/, int /*numThreads*/) const override {
        Result result{positions, state};
        for (float& number : result.state)
            number += noise.at(0);
        return result;
    }

private:
    int numAtoms = 0, stateSize = 0, noiseSize = 0;
};

} // namespace

extern "C" __attribute__((visibility("default"))) AtmosPlugin::PropagatorModule* atmosLoadPropagatorModule(const string& bytes) {
    return new StubModule(bytes);
}

/** How many modules have been loaded, and how many of them are in use. */
extern "C" __attribute__((visibility("default"))) void atmosStubCounts(int* loaded, int* alive) {
    *loaded = numLoaded;
    *alive = numAlive;
}
