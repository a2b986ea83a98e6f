#include "PropagatorModule.h"

#include "openmm/OpenMMException.h"
#include <dlfcn.h>
#include <mutex>

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

/** The modules in use. */
class LoadedModules {
public:
    /** Get the module with these bytes; null where there is none. */
    shared_ptr<const PropagatorModule> find(const string& bytes) {
        const lock_guard<mutex> guard(lock);
        return findLocked(bytes);
    }
    /** Add a module, unless another thread has added one with its bytes; get the one that is kept. */
    shared_ptr<const PropagatorModule> add(const shared_ptr<const PropagatorModule>& module) {
        const lock_guard<mutex> guard(lock);
        if (const auto other = findLocked(module->getBytes()))
            return other;
        modules.push_back(module);
        return module;
    }

private:
    shared_ptr<const PropagatorModule> findLocked(const string& bytes) {
        erase_if(modules, [](const auto& module) { return module.expired(); });
        for (const auto& each : modules)
            if (const auto module = each.lock(); module != nullptr && module->getBytes() == bytes)
                return module;
        return nullptr;
    }
    mutex lock;
    vector<weak_ptr<const PropagatorModule>> modules;
};

shared_ptr<const PropagatorModule> PropagatorModule::load(const string& bytes) {
    // Not inside the initialisation below: it takes Python's lock, and another thread could hold that lock while
    // it waits for the initialisation.

    if (prepareFunction != nullptr)
        prepareFunction();

    // A throw leaves the variable uninitialised, so a later call tries again.

    static const PropagatorModuleFactory factory = openImplementation();
    static LoadedModules loaded;
    if (const auto module = loaded.find(bytes))
        return module;

    // Nothing is locked meanwhile: what a module prints while it is loaded takes Python's lock.  Of two threads that
    // load the same archive at once, one throws its module away.

    try {
        return loaded.add(shared_ptr<const PropagatorModule>(factory(bytes)));
    } catch (const exception& error) {
        throw OpenMMException(string("AtmosIntegrator: cannot load the propagator module: ") + error.what());
    }
}

} // namespace AtmosPlugin
