// SWIG interface of the compiled plugin: the Python module atmos_openmm.atmos and its library
// atmos_openmm._atmos.  atmos_openmm/integrator.py puts the documented Python face on top.

%module(package="atmos_openmm") atmos

%pythonbegin %{
# First, so that OpenMM's library is loaded when this module's looks for it.
import openmm
%}

%{
#include "AtmosIntegrator.h"
#include "AtmosIntegratorProxy.h"
#include "Noise.h"
#include "openmm/OpenMMException.h"
#include "openmm/serialization/XmlSerializer.h"
#include <sstream>

/** Raise openmm.OpenMMException, which Python code that uses OpenMM catches. */
static void raiseOpenMMException(const char* message) {
    PyObject* openmm = PyImport_ImportModule("openmm");
    PyObject* type = openmm == nullptr ? nullptr : PyObject_GetAttrString(openmm, "OpenMMException");
    if (type != nullptr)
        PyErr_SetString(type, message);
    Py_XDECREF(type);
    Py_XDECREF(openmm);
}

/** Import torch and the operator library before the first module is loaded. */
static void prepareBackend() {
    // step() and the serializer may have released the interpreter.

    const PyGILState_STATE gil = PyGILState_Ensure();
    std::string cause;
    PyObject* backend = PyImport_ImportModule("atmos_openmm._backend");
    if (backend == nullptr) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        PyObject* text = value == nullptr ? nullptr : PyObject_Str(value);
        const char* utf8 = text == nullptr ? nullptr : PyUnicode_AsUTF8(text);
        cause = utf8 == nullptr ? "unknown error" : utf8;
        PyErr_Clear();
        Py_XDECREF(text);
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
    }
    Py_XDECREF(backend);
    PyGILState_Release(gil);
    if (!cause.empty())
        throw OpenMM::OpenMMException("AtmosIntegrator: cannot load torch and the operators: " + cause);
}
%}

%init %{
    AtmosPlugin::PropagatorModule::setPrepareFunction(prepareBackend);
    AtmosPlugin::registerAtmosIntegratorProxy();
%}

%exception {
    try {
        $action
    } catch (const std::exception& error) {
        raiseOpenMMException(error.what());
        SWIG_fail;
    }
}

%include "std_string.i"
%include "std_vector.i"
%include "stdint.i"
%naturalvar;
%template(IntegerVector) std::vector<int>;
%template(DoubleVector) std::vector<double>;
%template(StringVector) std::vector<std::string>;

// Only what is needed of OpenMM: the whole of its interface file brings a hundred warnings.  step() is
// named so that SWIG does not call the class abstract; the wrapper that is inherited from
// openmm.Integrator is virtual and releases the interpreter.
%import "openmm_base.i"

// Binary data in and out.
%typemap(in) const std::string& bytes (std::string content) {
    char* data = nullptr;
    Py_ssize_t size = 0;
    if (!PyBytes_Check($input) || PyBytes_AsStringAndSize($input, &data, &size) != 0) {
        PyErr_SetString(PyExc_TypeError, "the module must be a bytes object with the content of a TorchScript archive");
        SWIG_fail;
    }
    content.assign(data, static_cast<size_t>(size));
    $1 = &content;
}
%typemap(freearg) const std::string& bytes "";
%typemap(typecheck, precedence=SWIG_TYPECHECK_STRING) const std::string& bytes {
    $1 = PyBytes_Check($input);
}
%typemap(out) const std::string& AtmosPlugin::AtmosIntegrator::getModule {
    $result = PyBytes_FromStringAndSize($1->data(), static_cast<Py_ssize_t>($1->size()));
}

namespace AtmosPlugin {

struct Proposal {
    %immutable;
    long long attempt;
    long long step;
    std::string reason;
    int stage;
    double logRatio;
    double energyBefore;
    double energyRaw;
    double energyAfter;
    double energyLimit;
    std::vector<double> positionsBefore;
    std::vector<double> positionsRaw;
    std::vector<double> positionsAfter;
    %mutable;
};

struct ScreenParameters {
    std::vector<int> bonds;
    std::vector<double> bondLengths;
    double bondTolerance;
    std::vector<int> chiralCenters;
    std::vector<double> chiralSigns;
    std::vector<int> cisTrans;
    std::vector<int> ringSizes;
    std::vector<int> ringAtoms;
    std::vector<double> radii;
    double clashFactor;
    double maxDisplacement;
    double environmentDistance;
    double constraintTolerance;
};

} // namespace AtmosPlugin
%template(ProposalVector) std::vector<AtmosPlugin::Proposal>;
namespace AtmosPlugin {

class AtmosIntegrator : public OpenMM::LangevinMiddleIntegrator {
public:
    AtmosIntegrator(double temperature, double frictionCoeff, double stepSize);
    void setModule(const std::string& bytes, const std::vector<int>& atomIndices);
    const std::string& getModule() const;
    const std::vector<int>& getAtomIndices() const;
    int getJumpInterval() const;
    void setJumpInterval(int steps);
    double getLag() const;
    void setLag(double lag);
    const std::string& getAcceptanceMode() const;
    void setAcceptanceMode(const std::string& mode);
    double getEnergyWindow() const;
    void setEnergyWindow(double width);
    int getWindowSamples() const;
    void setWindowSamples(int samples);
    const std::vector<int>& getRelaxationStages() const;
    void setRelaxationStages(const std::vector<int>& iterations);
    double getRelaxationTolerance() const;
    void setRelaxationTolerance(double tolerance);
    long long getJumpSeed() const;
    void setJumpSeed(long long seed);
    long long getCurrentJumpSeed() const;
    int getTorchThreads() const;
    void setTorchThreads(int threads);
    const ScreenParameters& getScreen() const;
    void setScreen(const ScreenParameters& screen);
    const std::string& getCheckpointRestore() const;
    void setCheckpointRestore(const std::string& mode);
    long long getNumProposed() const;
    long long getNumAccepted() const;
    long long getNumRejected() const;
    long long getNumRejected(const std::string& reason) const;
    static std::vector<std::string> getReasonNames();
    double getLearnedTime() const;
    long long getStepsSinceJump() const;
    std::vector<double> getHiddenState() const;
    void setHiddenState(const std::vector<double>& state);
    long long getNumWindowSamples() const;
    double getWindowMean() const;
    double getWindowStandardDeviation() const;
    void setWindowStatistics(long long samples, double mean, double standardDeviation);
    const Proposal& getLastProposal() const;
    std::vector<AtmosPlugin::Proposal> takeProposals();
    int getProposalCapacity() const;
    bool getKeepProposalPositions() const;
    void setProposalRecording(int capacity, bool keepPositions);
    long long getNumDroppedProposals() const;
};

namespace Noise {
std::vector<double> uniforms(std::uint64_t seed, std::uint64_t stream, std::uint64_t attempt, std::size_t count);
std::vector<double> gaussians(std::uint64_t seed, std::uint64_t stream, std::uint64_t attempt, std::size_t count);
}

} // namespace AtmosPlugin

// Python's copies, pickles and casts: see integrator.py.
%newobject cloneIntegrator;
%newobject integratorFromXml;
%inline %{
AtmosPlugin::AtmosIntegrator* cloneIntegrator(const AtmosPlugin::AtmosIntegrator& integrator) {
    return OpenMM::XmlSerializer::clone<AtmosPlugin::AtmosIntegrator>(integrator);
}

std::string integratorToXml(const AtmosPlugin::AtmosIntegrator& integrator) {
    std::stringstream stream;
    OpenMM::XmlSerializer::serialize<AtmosPlugin::AtmosIntegrator>(&integrator, "Integrator", stream);
    return stream.str();
}

AtmosPlugin::AtmosIntegrator* integratorFromXml(const std::string& xml) {
    std::stringstream stream(xml);
    return OpenMM::XmlSerializer::deserialize<AtmosPlugin::AtmosIntegrator>(stream);
}

bool isAtmosIntegrator(const OpenMM::Integrator& integrator) {
    return dynamic_cast<const AtmosPlugin::AtmosIntegrator*>(&integrator) != nullptr;
}

AtmosPlugin::AtmosIntegrator& castToAtmosIntegrator(OpenMM::Integrator& integrator) {
    auto* cast = dynamic_cast<AtmosPlugin::AtmosIntegrator*>(&integrator);
    if (cast == nullptr)
        throw OpenMM::OpenMMException("this integrator is not an AtmosIntegrator");
    return *cast;
}
%}
