// Known values: docs/architecture.md, "Noise", worked out with Python's integers.

#include "Noise.h"
#include "check.h"

#include <cmath>
#include <set>

using namespace AtmosPlugin;
using namespace std;

namespace {

struct Known {
    uint64_t seed, stream, attempt;
    vector<double> uniforms, gaussians;
};

const vector<Known> KNOWN = {
    {1, Noise::PROPOSAL, 0,
     {0x1.c5032bbbb3dcap-1, 0x1.8e4364464b88ap-1, 0x1.badb3712d65f7p-2, 0x1.dc188845b08acp-1},
     {0x1.60ecf9c2330b4p-4, -0x1.f2ea903469527p-2, 0x1.2bce4cf7fff50p+0, -0x1.1abb9a23ec63dp-1}},
    {(1ull << 53) - 1, Noise::VELOCITIES, 12,
     {0x1.2d5510b3a22dfp-2, 0x1.c34b1c1fe026ap-1, 0x1.fb817844c37ecp-1, 0x1.e2b10a5b7fb22p-3},
     {0x1.2658fb890f9e3p+0, -0x1.0f779530ed65ap+0, 0x1.86b9f277b711ap-7, 0x1.0edafc51d1c66p-3}},
    {99, Noise::ACCEPTANCE, 1ull << 40,
     {0x1.2863805afab36p-1, 0x1.9acd8c57902c9p-2, 0x1.13bb65ae8ab28p-1, 0x1.ac8c38d48835ap-3},
     {-0x1.b36bc88495c12p-1, 0x1.3777b855089fcp-1, 0x1.2081cc8073d10p-2, 0x1.13880a9c77799p+0}},
};

} // namespace

TEST(noise, uniforms_are_those_of_the_specification) {
    for (const Known& known : KNOWN) {
        const vector<double> found = Noise::uniforms(known.seed, known.stream, known.attempt, known.uniforms.size());
        for (size_t k = 0; k < found.size(); k++)
            CHECK_EQUAL(found[k], known.uniforms[k]);
    }
}

TEST(noise, gaussians_are_those_of_the_specification) {
    for (const Known& known : KNOWN) {
        const vector<double> found = Noise::gaussians(known.seed, known.stream, known.attempt, known.gaussians.size());
        for (size_t k = 0; k < found.size(); k++) {
            // Another C library may round a logarithm or a cosine otherwise.

            CHECK_NEAR(found[k], known.gaussians[k], 4 * 0x1p-53 * fabs(known.gaussians[k]));
            CHECK_EQUAL(static_cast<float>(found[k]), static_cast<float>(known.gaussians[k]));
        }
    }
}

TEST(noise, numbers_do_not_depend_on_how_many_are_asked_for) {
    const vector<double> all = Noise::gaussians(5, Noise::PROPOSAL, 3, 9);
    for (size_t count = 0; count < all.size(); count++)
        CHECK(Noise::gaussians(5, Noise::PROPOSAL, 3, count) == vector<double>(all.begin(), all.begin() + static_cast<ptrdiff_t>(count)));
}

TEST(noise, seeds_streams_and_attempts_have_numbers_of_their_own) {
    set<double> found;
    for (uint64_t seed : {0, 1, 2})
        for (uint64_t stream : {0, 1, 2})
            for (uint64_t attempt : {0, 1, 2})
                for (double number : Noise::uniforms(seed, stream, attempt, 4)) {
                    CHECK(number > 0 && number < 1);
                    found.insert(number);
                }
    CHECK_EQUAL(found.size(), 108u);
}

TEST(noise, drawn_seeds_are_not_zero_and_survive_a_double) {
    set<uint64_t> seeds;
    for (int i = 0; i < 100; i++) {
        const uint64_t seed = Noise::drawSeed();
        CHECK(seed != 0 && seed < (1ull << 53));
        CHECK_EQUAL(static_cast<uint64_t>(static_cast<double>(seed)), seed);
        seeds.insert(seed);
    }
    CHECK(seeds.size() > 90);
}
