#include "TorsionDensity.h"
#include "check.h"
#include "torsion_cases.h"

#include <functional>

using namespace AtmosPlugin;
using namespace AtmosTests;
using namespace std;

namespace {

using Gates = TorsionDensity::Gates;

const vector<double> AT = {2.9, -3.1, 0.4};

/** The mean of a function on a grid of the block's torus, times its volume. */
double integrate(int dimensions, const function<double(const double*)>& function) {
    const int count = 200;
    double sum = 0;
    for (int i = 0; i < count; i++)
        for (int j = 0; j < (dimensions == 2 ? count : 1); j++) {
            const double to[2] = {2 * M_PI * i / count - M_PI, 2 * M_PI * j / count - M_PI};
            sum += function(to);
        }
    return sum * pow(2 * M_PI / count, dimensions);
}

} // namespace

TEST(torsion_density, angles_are_wrapped) {
    CHECK_NEAR(wrapAngle(3 * M_PI / 2), -M_PI / 2, 1e-15);
    CHECK_EQUAL(wrapAngle(M_PI), M_PI);
    CHECK_EQUAL(wrapAngle(-M_PI), M_PI);
    CHECK_EQUAL(wrapAngle(0.25), 0.25);
    CHECK_NEAR(wrapAngle(-20.0), -20.0 + 6 * M_PI, 1e-14);
}

TEST(torsion_density, every_density_integrates_to_1) {
    // The trapezoidal rule is exact to rounding for smooth periodic functions with so many points.

    const TorsionDensity density(twoBlocks());
    for (const Gates gates : {Gates::Sequential, Gates::Conditional})
        for (int block = 0; block < 2; block++) {
            const auto value = [&](const double* to) { return exp(density.logBlock(block, to, AT, gates)); };
            CHECK_NEAR(integrate(density.getSize(block), value), 1.0, 1e-12);
        }
}

TEST(torsion_density, the_density_is_periodic) {
    const TorsionDensity density(twoBlocks());
    const double to[2] = {M_PI - 1e-9, 0.3}, beyond[2] = {-M_PI + 1e-9, 0.3};
    CHECK_NEAR(density.logBlock(0, to, AT, Gates::Sequential), density.logBlock(0, beyond, AT, Gates::Sequential), 1e-6);
}

TEST(torsion_density, one_normal_has_its_value) {
    TorsionParameters p = twoBlocks();
    const TorsionDensity density(p);
    const double to[1] = {1.7};
    const double normal = exp(-0.5 * 0.3 * 0.3 / 0.45) / sqrt(2 * M_PI * 0.45);
    const double image = exp(-0.5 * pow(2 * M_PI - 0.3, 2) / 0.45) / sqrt(2 * M_PI * 0.45);
    CHECK_NEAR(density.logBlock(1, to, AT, Gates::Conditional), log(0.9 * (normal + image) + 0.1 / (2 * M_PI)), 1e-14);
}

TEST(torsion_density, gates_weigh_components) {
    // The weights of the first block, at the gate's value: the share that falls near each mean.

    TorsionParameters p = twoBlocks();
    p.uniformWeight = 0;
    p.hasLocal = {0, 0};
    p.localCovariances.clear();
    p.sequentialGates = {0.3, 0, 0, -0.2, 0, 0, 0.7, 0.4, -0.3};
    p.conditionalGates = {0.3, 0.5, -0.4, -0.2, -0.6, 0.2, 0.7, -0.5, 0.8};
    for (int i = 0; i < 8; i++)
        p.covariances[i] *= 0.01;
    const TorsionDensity density(p);
    const double logit = 0.3 - -0.2 + (0.5 - -0.6) * cos(AT[2]) + (-0.4 - 0.2) * sin(AT[2]);
    const double found = density.logBlock(0, &p.means[0], AT, Gates::Conditional) - density.logBlock(0, &p.means[2], AT, Gates::Conditional);
    const double determinants = 0.5 * log((0.10 * 0.40 - 0.05 * 0.05) / (0.30 * 0.25 - 0.12 * 0.12));
    CHECK_NEAR(found, logit + determinants, 1e-10);
    const double inTurn = density.logBlock(0, &p.means[0], AT, Gates::Sequential) - density.logBlock(0, &p.means[2], AT, Gates::Sequential);
    CHECK_NEAR(inTurn, 0.5 + determinants, 1e-10);
}

TEST(torsion_density, local_components_follow_the_present) {
    const TorsionDensity density(twoBlocks());
    const vector<double> elsewhere = {0.5, 2.0, 0.4};
    const double to[2] = {0.5, 2.0};
    CHECK(density.logBlock(0, to, elsewhere, Gates::Conditional) > density.logBlock(0, to, AT, Gates::Conditional) + 2);
}

TEST(torsion_density, draws_follow_the_density) {
    // Counts in 8 x 8 or 8 cells against the integral of the density: chi-square with one degree of freedom less
    // than cells has the variance 2 n; five standard deviations are allowed.

    const int draws = 40000, cells = 8;
    for (const vector<int>& free : {vector<int>{0, 1}, vector<int>{0}, vector<int>{1}}) {
        TorsionDensity density(twoBlocks());
        const bool whole = free.size() == 2;
        vector<double> expected(whole ? cells * cells : cells, 0.0), found = expected;
        const auto cell = [&](double t) { return min(cells - 1, static_cast<int>((t + M_PI) / (2 * M_PI) * cells)); };
        const auto place = [&](const double* t) { return whole ? cell(t[0]) * cells + cell(t[1]) : cell(t[free[0]]); };
        const int fine = 400;
        for (int i = 0; i < fine; i++)
            for (int j = 0; j < (whole ? fine : 1); j++) {
                double to[2] = {AT[0], AT[1]};
                to[free[0]] = 2 * M_PI * (i + 0.5) / fine - M_PI;
                if (whole)
                    to[1] = 2 * M_PI * (j + 0.5) / fine - M_PI;
                expected[place(to)] += exp(density.logBlock(0, to, AT, Gates::Conditional));
            }
        double sum = 0;
        for (double value : expected)
            sum += value;
        for (int n = 0; n < draws; n++) {
            Noise::Draws numbers(3, Noise::MOVES, static_cast<uint64_t>(n));
            const vector<double> to = density.drawBlock(0, free, AT, numbers, Gates::Conditional);
            CHECK(whole || to[1 - free[0]] == AT[1 - free[0]]);
            found[place(to.data())]++;
        }
        double chiSquare = 0;
        for (size_t i = 0; i < expected.size(); i++) {
            const double mean = draws * expected[i] / sum;
            chiSquare += (found[i] - mean) * (found[i] - mean) / mean;
        }
        const double freedom = static_cast<double>(expected.size()) - 1;
        CHECK_NEAR(chiSquare, freedom, 5 * sqrt(2 * freedom));
    }
}

TEST(torsion_density, parameters_that_do_not_fit_are_refused) {
    const auto check = [](const function<void(TorsionParameters&)>& spoil, const char* text) {
        TorsionParameters p = twoBlocks();
        spoil(p);
        CHECK_THROWS(p.validate(); TorsionDensity{p}, text);
    };
    check([](TorsionParameters& p) { p = TorsionParameters(); }, "have no torsions");
    check([](TorsionParameters& p) { p.groupAtoms[0] = 1; }, "turn a wrong group with torsion 0: it must hold the last atom 3");
    check([](TorsionParameters& p) { p.groupSizes[2] = 2; }, "have 6 particles in their groups, expected 7");
    check([](TorsionParameters& p) { p.blockSizes = {2, 2}; }, "have 4 torsions in their blocks, expected 3");
    check([](TorsionParameters& p) { p.blockPrevious[0] = 0; }, "previous block does not come before it");
    check([](TorsionParameters& p) { p.uniformWeight = 1.5; }, "uniform weight 1.5, but it must be from 0 to 1");
    check([](TorsionParameters& p) { p.covariances[8] = 0.5; }, "standard deviation 0.707107");
    check([](TorsionParameters& p) { p.covariances[1] = 0.1; }, "in block 0 that is not symmetric");
    check([](TorsionParameters& p) { p.covariances[1] = p.covariances[2] = 0.4; }, "not positive definite");
    check([](TorsionParameters& p) { p.means.pop_back(); }, "have 4 numbers in their means, expected 5");
    check([](TorsionParameters& p) { p.means[0] = NAN; }, "not finite among their means");
    check([](TorsionParameters& p) { p.gateTorsions[1] = 2; }, "a gate inside its own block");
    check([](TorsionParameters& p) { p.sequentialGates[1] = 0.1; }, "a sequential gate in a later block");
}
