// Integrators with the same archive share the module that is loaded from it, and nothing else.

#include "AtmosIntegrator.h"
#include "AtmosIntegratorProxy.h"
#include "check.h"

#include "openmm/Context.h"
#include "openmm/Platform.h"
#include "openmm/System.h"
#include "openmm/serialization/XmlSerializer.h"
#include <dlfcn.h>
#include <memory>
#include <thread>

using namespace AtmosPlugin;
using namespace OpenMM;
using namespace std;

namespace {

const string ARCHIVE = "2 1 1";

struct Counts {
    int loaded, alive;
};

Counts counts() {
    // Loading a module opens the stub; it is never closed.

    PropagatorModule::load(ARCHIVE);
    Dl_info own;
    dladdr(reinterpret_cast<void*>(&counts), &own);
    const string program = own.dli_fname;
    const string folder = program.find('/') == string::npos ? "." : program.substr(0, program.rfind('/'));
    void* library = dlopen((folder + "/libatmos_torch.so").c_str(), RTLD_NOW | RTLD_NOLOAD);
    const auto read = reinterpret_cast<void (*)(int*, int*)>(dlsym(library, "atmosStubCounts"));
    Counts result;
    read(&result.loaded, &result.alive);
    return result;
}

/** An integrator of two particles without forces that jumps before every step but the first. */
unique_ptr<AtmosIntegrator> makeIntegrator(int seed) {
    auto integrator = make_unique<AtmosIntegrator>(300, 1, 0.001);
    integrator->setModule(ARCHIVE, {0, 1});
    integrator->setAcceptanceMode("none");
    integrator->setJumpInterval(1);
    integrator->setJumpSeed(seed);
    return integrator;
}

struct Walker {
    explicit Walker(int seed) : integrator(makeIntegrator(seed)) {
        system.addParticle(1);
        system.addParticle(2);
        context = make_unique<Context>(system, *integrator, Platform::getPlatformByName("Reference"));
        context->setPositions({{0, 0, 0}, {1, 0, 0}});
    }
    System system;
    unique_ptr<AtmosIntegrator> integrator;
    unique_ptr<Context> context;
};

} // namespace

TEST(sharing, the_walkers_of_a_process_load_an_archive_once) {
    const auto held = PropagatorModule::load(ARCHIVE);
    const Counts before = counts();
    vector<unique_ptr<Walker>> walkers;
    for (int i = 0; i < 8; i++)
        walkers.push_back(make_unique<Walker>(i + 1));
    registerAtmosIntegratorProxy();
    const unique_ptr<AtmosIntegrator> copy(XmlSerializer::clone<AtmosIntegrator>(*walkers[0]->integrator));
    CHECK_EQUAL(counts().loaded, before.loaded);
    CHECK_EQUAL(counts().alive, before.alive);
    CHECK_EQUAL(&copy->getModule(), &walkers[7]->integrator->getModule());
}

TEST(sharing, another_archive_is_another_module) {
    const auto held = PropagatorModule::load(ARCHIVE);
    const Counts before = counts();
    const auto other = PropagatorModule::load(ARCHIVE + " ");
    CHECK(other != held);
    CHECK_EQUAL(counts().loaded, before.loaded + 1);
    CHECK_EQUAL(counts().alive, before.alive + 1);
}

TEST(sharing, the_last_walker_releases_the_module) {
    CHECK_EQUAL(counts().alive, 0);
    {
        auto first = make_unique<Walker>(1);
        const Walker second(2);
        first.reset();
        CHECK_EQUAL(PropagatorModule::load(ARCHIVE).use_count(), 2);
    }
    CHECK_EQUAL(counts().alive, 0);
}

TEST(sharing, an_archive_that_cannot_be_loaded_is_tried_again) {
    AtmosIntegrator integrator(300, 1, 0.001);
    integrator.setModule(ARCHIVE, {0, 1});
    for (int i = 0; i < 2; i++)
        CHECK_THROWS(integrator.setModule("nothing", {0, 1}), "cannot load the propagator module: this is no archive");
    CHECK_EQUAL(integrator.getModule(), ARCHIVE);
}

TEST(sharing, what_a_walker_knows_is_its_own) {
    // The stub's state is the sum of the noises: another in each walker, whoever jumps in between.

    Walker alone(5);
    alone.integrator->step(4);
    Walker first(5), second(6);
    for (int i = 0; i < 4; i++) {
        first.integrator->step(1);
        second.integrator->step(1);
    }
    CHECK_EQUAL(first.integrator->getNumAccepted(), 3);
    CHECK(first.integrator->getHiddenState() == alone.integrator->getHiddenState());
    CHECK(first.integrator->getHiddenState() != second.integrator->getHiddenState());
    second.integrator->setHiddenState({0});
    CHECK(first.integrator->getHiddenState() == alone.integrator->getHiddenState());
}

TEST(sharing, threads_that_load_at_once_end_with_one_module) {
    vector<shared_ptr<const PropagatorModule>> found(8);
    vector<thread> threads;
    for (auto& module : found)
        threads.emplace_back([&module] { module = PropagatorModule::load("3 0 0"); });
    for (thread& each : threads)
        each.join();
    for (const auto& module : found)
        CHECK_EQUAL(module.get(), found[0].get());
    CHECK_EQUAL(found[0].use_count(), 8);
}
