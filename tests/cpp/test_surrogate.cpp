#include "SurrogateEnergy.h"
#include "TorsionMoves.h"
#include "check.h"
#include "torsion_cases.h"

#include "openmm/NonbondedForce.h"
#include "openmm/PeriodicTorsionForce.h"
#include <cmath>
#include <limits>
#include <memory>

using namespace AtmosPlugin;
using namespace AtmosTests;
using namespace OpenMM;
using namespace std;

namespace {

const BoxVectors BOX = {Vec3(2.1, 0, 0), Vec3(0.5, 1.9, 0), Vec3(-0.7, 0.6, 1.8)};
const double CUTOFF = 0.8;
const int NUM_OTHERS = 60;

/** A charged chain of six atoms among others that stay. */
unique_ptr<System> build(NonbondedForce::NonbondedMethod method) {
    auto system = make_unique<System>();
    auto* pairs = new NonbondedForce();
    pairs->setNonbondedMethod(method);
    pairs->setCutoffDistance(CUTOFF);
    for (int i = 0; i < 6 + NUM_OTHERS; i++) {
        system->addParticle(12);
        pairs->addParticle(0.3 * ((i % 3) - 1), 0.15 + 0.01 * (i % 4), 0.2 + 0.1 * (i % 2));
    }
    for (int i = 0; i < 5; i++)
        pairs->addException(i, i + 1, 0, 0.2, 0);
    pairs->addException(1, 4, 0.02, 0.2, 0.1);
    system->addForce(pairs);
    auto* torsions = new PeriodicTorsionForce();
    torsions->addTorsion(0, 1, 2, 3, 3, 0.4, 2);
    torsions->addTorsion(2, 3, 4, 5, 1, 0.2, 3);
    torsions->setForceGroup(1);
    system->addForce(torsions);
    return system;
}

/** The chain begins outside of the box, and the others are anywhere. */
vector<Vec3> places() {
    vector<Vec3> positions = chain(6);
    for (Vec3& p : positions)
        p += Vec3(1.9, 5.5, -0.3);
    Noise::Draws draws(5, Noise::MOVES, 0);
    for (int i = 0; i < NUM_OTHERS; i++) {
        const double a = draws.uniform(), b = draws.uniform(), c = draws.uniform();
        positions.push_back(BOX[0] * (3 * a) + BOX[1] * (2 * b) + BOX[2] * (c - 1));
    }
    return positions;
}

/** The energy of one pair by all images, in double precision. */
double imagesOf(const NonbondedForce& pairs, int i, int j, const Vec3& from, const Vec3& to) {
    double charge, sigma, epsilon, otherCharge, otherSigma, otherEpsilon, energy = 0;
    pairs.getParticleParameters(i, charge, sigma, epsilon);
    pairs.getParticleParameters(j, otherCharge, otherSigma, otherEpsilon);
    const double dielectric = pairs.getReactionFieldDielectric(), k = (dielectric - 1) / (2 * dielectric + 1) / pow(CUTOFF, 3);
    const double shift = 3 * dielectric / (2 * dielectric + 1) / CUTOFF;
    for (int a = -12; a <= 12; a++)
        for (int b = -12; b <= 12; b++)
            for (int c = -6; c <= 6; c++) {
                const Vec3 d = to - from + BOX[0] * a + BOX[1] * b + BOX[2] * c;
                const double r = sqrt(d.dot(d)), s6 = pow(0.5 * (sigma + otherSigma) / r, 6);
                if (r < CUTOFF)
                    energy += 138.935456 * charge * otherCharge * (1 / r + k * r * r - shift) + 4 * sqrt(epsilon * otherEpsilon) * s6 * (s6 - 1);
            }
    return energy;
}

/** What all pairs of an atom that turns have, those with parameters of their own apart. */
double sumOfImages(const NonbondedForce& pairs, const vector<Vec3>& positions) {
    double energy = 0;
    for (int i = 3; i < 6; i++)
        for (int j = 0; j < static_cast<int>(positions.size()); j++) {
            const bool isOwn = j < 6 && (abs(i - j) <= 1 || (i == 4 && j == 1));
            if (!isOwn && (j < i || j >= 6))
                energy += imagesOf(pairs, i, j, positions[i], positions[j]);
        }
    const Vec3 d = positions[4] - positions[1];
    const double r = sqrt(d.dot(d)), s6 = pow(0.2 / r, 6);
    return energy + 138.935456 * 0.02 / r + 0.4 * s6 * (s6 - 1);
}

} // namespace

TEST(surrogate, pairsInASkewedBoxAreThoseOfADirectSum) {
    const auto system = build(NonbondedForce::CutoffPeriodic);
    const auto* pairs = dynamic_cast<const NonbondedForce*>(&system->getForce(0));
    const auto surrogate = makeSurrogate(*system, twoBlocks(), 1), torsions = makeSurrogate(*system, twoBlocks(), 2);
    const auto both = makeSurrogate(*system, twoBlocks(), -1);
    CHECK(both->getUnknownForces().empty());
    vector<Vec3> positions = places();
    TorsionMoves moves(twoBlocks(), {}, 0.35);
    for (uint64_t n = 0; n < 8; n++) {
        const double found = both->begin(positions, BOX), scale = fabs(found) + 100;
        CHECK_NEAR(found, sumOfImages(*pairs, positions) + torsions->begin(positions, BOX), 1e-5 * scale);
        CHECK_NEAR(found, surrogate->begin(positions, BOX) + torsions->begin(positions, BOX), 1e-9 * scale);
        const vector<double> angles = moves.measure(positions);
        Noise::Draws draws(5, Noise::MOVES, 1 + n);
        moves.apply(positions, angles, moves.propose(angles, draws));
    }
}

TEST(surrogate, isAFunctionOfPositionsWhateverLedToThem) {
    for (const auto method : {NonbondedForce::CutoffPeriodic, NonbondedForce::PME, NonbondedForce::NoCutoff}) {
        const auto system = build(method);
        const auto surrogate = makeSurrogate(*system, twoBlocks(), -1), other = makeSurrogate(*system, twoBlocks(), -1);
        TorsionMoves moves(twoBlocks(), {}, 0.35);
        vector<Vec3> positions = places();
        vector<double> torsions = moves.measure(positions);
        surrogate->begin(positions, BOX);
        for (uint64_t n = 0; n < 200; n++) {
            Noise::Draws draws(5, Noise::MOVES, n);
            const TorsionMoves::Move move = moves.propose(torsions, draws);
            const vector<Vec3> before = moves.getTurned(positions, move), all = positions;
            moves.apply(positions, torsions, move);
            const double found = surrogate->propose(positions, move.changed), expected = other->begin(positions, BOX);

            // Sums of energies up to those of overlaps, in double precision.

            CHECK_NEAR(found, expected, 1e-9 * (fabs(expected) + 1e4));
            if (draws.uniform() < 0.5 && expected < 1e4) {
                surrogate->accept();
                torsions = move.torsions;
            } else {
                moves.putBack(positions, move, before);
                for (size_t i = 0; i < all.size(); i++)
                    for (int k = 0; k < 3; k++)
                        CHECK_EQUAL(positions[i][k], all[i][k]);
            }
        }
    }
}

TEST(surrogate, refusesPositionsOfAnotherSystem) {
    const auto system = build(NonbondedForce::PME);
    const auto surrogate = makeSurrogate(*system, twoBlocks(), -1);
    CHECK_THROWS(surrogate->begin(vector<Vec3>(7), BOX), "7 positions, but the System has 66");
    vector<Vec3> positions = places();
    surrogate->begin(positions, BOX);
    positions[5][1] = numeric_limits<double>::quiet_NaN();
    CHECK(!isfinite(surrogate->propose(positions, {2})));
    CHECK_THROWS(surrogate->begin(positions, BOX), "particle 5 is not finite");
    System small;
    small.addParticle(1);
    CHECK_THROWS(makeSurrogate(small, twoBlocks(), -1), "but the System has 1");
}
