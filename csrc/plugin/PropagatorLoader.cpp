#include "PropagatorModule.h"

#include "openmm/OpenMMException.h"
#include <dlfcn.h>

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

static void (*prepareFunction)() = nullptr;

void PropagatorModule::setPrepareFunction(void (*prepare)()) {
    prepareFunction = prepare;
}

/** Get the folder of the shared library that this function is in. */
static string libraryFolder() {
    Dl_info info;
    if (dladdr(reinterpret_cast<void*>(&libraryFolder), &info) == 0 || info.dli_fname == nullptr)
        throw OpenMMException("AtmosIntegrator: cannot find the folder of the compiled library");
    const string path = info.dli_fname;
    const size_t slash = path.rfind('/');
    return slash == string::npos ? "." : path.substr(0, slash);
}

static PropagatorModuleFactory openImplementation() {
    const string path = libraryFolder() + "/libatmos_torch.so";
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        const char* cause = dlerror();
        throw OpenMMException("AtmosIntegrator: cannot load the TorchScript backend: " + string(cause == nullptr ? path : cause));
    }
    void* symbol = dlsym(library, "atmosLoadPropagatorModule");
    if (symbol == nullptr)
        throw OpenMMException("AtmosIntegrator: " + path + " is no backend of this version; install atmos-openmm again");
    return reinterpret_cast<PropagatorModuleFactory>(symbol);
}

unique_ptr<PropagatorModule> PropagatorModule::load(const string& bytes) {
    // Not inside the initialisation below: it takes Python's lock, and another thread could hold that lock while
    // it waits for the initialisation.

    if (prepareFunction != nullptr)
        prepareFunction();

    // A throw leaves the variable uninitialised, so a later call tries again.

    static const PropagatorModuleFactory factory = openImplementation();
    try {
        return unique_ptr<PropagatorModule>(factory(bytes));
    } catch (const exception& error) {
        throw OpenMMException(string("AtmosIntegrator: cannot load the propagator module: ") + error.what());
    }
}

} // namespace AtmosPlugin
