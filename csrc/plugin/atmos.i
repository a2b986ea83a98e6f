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

// The classes as their headers declare and describe them; "swig -doxygen" makes the descriptions
// Python's docstrings.
%ignore AtmosPlugin::NUM_REASONS;
%ignore AtmosPlugin::Reason;
%ignore AtmosPlugin::reasonName;
%ignore AtmosPlugin::JumpScreen;
%ignore AtmosPlugin::ScreenParameters::validate;
%ignore AtmosPlugin::TorsionParameters::validate;
%ignore AtmosPlugin::AtmosIntegrator::step;
%ignore AtmosPlugin::Noise::drawSeed;
%ignore AtmosPlugin::Noise::Stream;
%ignore AtmosPlugin::Noise::Draws;
%include "Proposal.h"
%include "JumpScreen.h"
%include "Noise.h"
%include "TorsionParameters.h"
%nodefaultctor AtmosPlugin::SurrogateEnergy;
%ignore AtmosPlugin::SurrogateEnergy::begin;
%ignore AtmosPlugin::SurrogateEnergy::propose;
%ignore AtmosPlugin::SurrogateEnergy::accept;
%ignore AtmosPlugin::TurningGroups;
%ignore AtmosPlugin::makeSurrogate;
%include "SurrogateEnergy.h"
%template(ProposalVector) std::vector<AtmosPlugin::Proposal>;
%include "AtmosIntegrator.h"

// Python's copies, pickles and casts: see integrator.py.
%newobject cloneIntegrator;
%newobject integratorFromXml;
%newobject surrogateFromXml;
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

AtmosPlugin::SurrogateEnergy* surrogateFromXml(const std::string& systemXml, const AtmosPlugin::TorsionParameters& parameters, int groups) {
    std::stringstream stream(systemXml);
    const std::unique_ptr<OpenMM::System> system(OpenMM::XmlSerializer::deserialize<OpenMM::System>(stream));
    return AtmosPlugin::makeSurrogate(*system, parameters, groups).release();
}

double surrogateEnergy(AtmosPlugin::SurrogateEnergy& surrogate, const std::vector<double>& positions, const std::vector<double>& box) {
    std::vector<OpenMM::Vec3> points;
    for (size_t i = 0; i + 2 < positions.size(); i += 3)
        points.emplace_back(positions[i], positions[i + 1], positions[i + 2]);
    if (box.size() != 9)
        throw OpenMM::OpenMMException("SurrogateEnergy: the box has " + std::to_string(box.size()) + " numbers, but must have 3 vectors of 3");
    AtmosPlugin::BoxVectors vectors;
    for (size_t i = 0; i < 9; i++)
        vectors[i / 3][static_cast<int>(i % 3)] = box[i];
    return surrogate.begin(points, vectors);
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
