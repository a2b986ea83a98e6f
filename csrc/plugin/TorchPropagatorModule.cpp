#include "PropagatorModule.h"

#include <ATen/Parallel.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/runtime/jit_exception.h>
#include <torch/script.h>
#include <regex>
#include <sstream>
#include <stdexcept>

using namespace std;

namespace AtmosPlugin {

/**
 * Sets torch's number of threads and restores the caller's number at the end: the number belongs to
 * the whole process, and a Python script's torch must not notice the jumps.
 */
class ThreadScope {
public:
    explicit ThreadScope(int numThreads) : previous(at::get_num_threads()) {
        if (numThreads > 0 && numThreads != previous)
            at::set_num_threads(numThreads);
    }
    ~ThreadScope() {
        if (at::get_num_threads() != previous)
            at::set_num_threads(previous);
    }
    ThreadScope(const ThreadScope&) = delete;
    ThreadScope& operator=(const ThreadScope&) = delete;

private:
    int previous;
};

/**
 * Cut the text of a torch error, often 15 lines with a TorchScript traceback and a C++ one, down to
 * its cause in one line.
 */
static string causeOf(const string& text) {
    // The last line that looks like "SomeError: message" starts the cause; what follows belongs to it, up to a
    // C++ backtrace.

    static const regex errorLine("^\\s*([A-Za-z_][A-Za-z0-9_.]*(Error|Exception)): ?(.*)$");
    vector<string> lines;
    stringstream stream(text);
    for (string line; getline(stream, line);) {
        if (line.rfind("Exception raised from", 0) == 0 || line.rfind("frame #0", 0) == 0)
            break;
        lines.push_back(line);
    }
    size_t start = 0;
    for (size_t i = 0; i < lines.size(); i++)
        if (regex_match(lines[i], errorLine))
            start = i;
    string cause;
    for (size_t i = start; i < lines.size(); i++) {
        const size_t first = lines[i].find_first_not_of(" \t");
        if (first == string::npos)
            continue;
        cause += (cause.empty() ? "" : " ") + lines[i].substr(first);
    }
    return cause.empty() ? "unknown error" : cause;
}

static string causeOf(const exception& error) {
    if (const auto* torchError = dynamic_cast<const c10::Error*>(&error))
        return causeOf(torchError->what_without_backtrace());
    return causeOf(string(error.what()));
}

static string describe(const at::Tensor& tensor) {
    stringstream text;
    text << tensor.dtype().name() << " " << tensor.sizes();
    return text.str();
}

static const at::Tensor& requireTensor(const c10::IValue& value, const char* name, at::IntArrayRef shape) {
    stringstream expected;
    expected << "float " << shape;
    if (!value.isTensor())
        throw runtime_error(string("the module returned a ") + value.tagKind() + " as " + name + "; expected a tensor of " + expected.str());
    const at::Tensor& tensor = value.toTensor();
    if (tensor.scalar_type() != at::kFloat || tensor.sizes() != shape)
        throw runtime_error(string("the module returned ") + name + " of " + describe(tensor) + "; expected " + expected.str());
    return tensor;
}

static vector<float> toVector(const at::Tensor& tensor) {
    const at::Tensor flat = tensor.to(at::kCPU).contiguous();
    const float* data = flat.const_data_ptr<float>();
    return vector<float>(data, data + flat.numel());
}

/** A module in TorchScript. */
class TorchPropagatorModule : public PropagatorModule {
public:
    explicit TorchPropagatorModule(const string& bytes) : PropagatorModule(bytes) {
        try {
            stringstream stream(bytes);
            module = torch::jit::load(stream, at::kCPU);
        } catch (const exception& error) {
            throw runtime_error(causeOf(error));
        }
        module.eval();
        for (const char* method : {"propagate", "num_atoms", "state_size", "noise_size"})
            if (!module.find_method(method))
                throw runtime_error(string("it has no method ") + method + "(); expected propagate, num_atoms, state_size and noise_size");
        const size_t numArguments = module.get_method("propagate").function().getSchema().arguments().size();
        if (numArguments != 6)
            throw runtime_error("its method propagate takes " + to_string(numArguments - 1) +
                                " arguments; expected 5: positions, state, noise, lag, temperature");
        numAtoms = getSize("num_atoms", 1);
        stateSize = getSize("state_size", 0);
        noiseSize = getSize("noise_size", 0);
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

    Result propagate(const vector<float>& positions, const vector<float>& state, const vector<float>& noise, double lag, double temperature,
                     int numThreads) const override {
        const ThreadScope threads(numThreads);
        const c10::InferenceMode inference;

        // The optimising executor rewrites a graph after its first calls, which may change the last bits of the
        // result.  Without it the first call in a new process equals the hundredth in an old one.

        const torch::jit::GraphOptimizerEnabledGuard plainExecutor(false);
        try {
            const auto result = module.get_method("propagate")({
                toTensor(positions, {1, numAtoms, 3}),
                toTensor(state, {1, stateSize}),
                toTensor(noise, {1, noiseSize}),
                torch::full({1}, lag, at::kFloat),
                torch::full({1}, temperature, at::kFloat),
            });
            return unpack(result);
        } catch (const exception& error) {
            throw runtime_error(causeOf(error));
        }
    }

private:
    int getSize(const char* method, int smallest) {
        long value = 0;
        try {
            const auto result = module.get_method(method)({});
            if (!result.isInt())
                throw runtime_error(string("returns a ") + result.tagKind() + ", expected an integer");
            value = static_cast<long>(result.toInt());
        } catch (const exception& error) {
            throw runtime_error(string("its method ") + method + "(): " + causeOf(error));
        }
        if (value < smallest || value > numeric_limits<int>::max())
            throw runtime_error(string("its method ") + method + "() returns " + to_string(value));
        return static_cast<int>(value);
    }

    static at::Tensor toTensor(const vector<float>& values, at::IntArrayRef shape) {
        at::Tensor tensor = torch::empty(shape, at::kFloat);
        if (tensor.numel() != static_cast<int64_t>(values.size()))
            throw runtime_error("an input has " + to_string(values.size()) + " numbers, expected " + to_string(tensor.numel()));
        copy(values.begin(), values.end(), tensor.mutable_data_ptr<float>());
        return tensor;
    }

    Result unpack(const c10::IValue& value) const {
        if (!value.isTuple() || value.toTupleRef().elements().size() != 3)
            throw runtime_error(string("the module returned a ") + value.tagKind() + "; expected the tuple (positions, state, log_ratio)");
        const auto& parts = value.toTupleRef().elements();
        Result result;
        result.positions = toVector(requireTensor(parts[0], "positions", {1, numAtoms, 3}));
        result.state = toVector(requireTensor(parts[1], "state", {1, stateSize}));
        result.logRatio = toVector(requireTensor(parts[2], "log_ratio", {1}))[0];
        return result;
    }

    torch::jit::Module module;
    int numAtoms = 0, stateSize = 0, noiseSize = 0;
};

} // namespace AtmosPlugin

extern "C" __attribute__((visibility("default"))) AtmosPlugin::PropagatorModule* atmosLoadPropagatorModule(const string& bytes) {
    return new AtmosPlugin::TorchPropagatorModule(bytes);
}
