#include "TorsionMoves.h"
#include "check.h"
#include "torsion_cases.h"

#include "openmm/VirtualSite.h"
#include <algorithm>

using namespace AtmosPlugin;
using namespace AtmosTests;
using namespace OpenMM;
using namespace std;

namespace {

/** Moves of one kind only. */
vector<double> only(MoveKind kind) {
    vector<double> shares(NUM_MOVE_KINDS, 0.0);
    shares[static_cast<int>(kind)] = 1;
    return shares;
}

void build(System& system) {
    for (int i = 0; i < 6; i++)
        system.addParticle(12);
}

/** The weight of one torsion in the target of the chains below. */
double weight(double t) {
    return exp(1.2 * cos(3 * t) + 0.5 * sin(t));
}

/** The share of frames with the first torsion above 0, and its standard error from 40 batches. */
struct Share {
    double mean, error;
};

/** Run a chain of moves whose ratio is wrong by some kT for each move across 0. */
Share runChain(double wrong) {
    const int batches = 40, length = 5000;
    TorsionMoves moves(twoBlocks(), {}, 0.35);
    vector<double> torsions = {0.1, 0.2, 0.3}, means;
    uint64_t attempt = 0;
    for (int batch = 0; batch < batches; batch++) {
        int above = 0;
        for (int n = 0; n < length; n++, attempt++) {
            Noise::Draws draws(11, Noise::MOVES, attempt);
            const TorsionMoves::Move move = moves.propose(torsions, draws);
            double logRatio = move.logRatio + wrong * ((move.torsions[0] > 0) - (torsions[0] > 0));
            for (int k = 0; k < 3; k++)
                logRatio += log(weight(move.torsions[k]) / weight(torsions[k]));
            if (log(Noise::Draws(11, Noise::ACCEPTANCE, attempt).uniform()) < logRatio)
                torsions = move.torsions;
            above += torsions[0] > 0;
        }
        means.push_back(static_cast<double>(above) / length);
    }
    double mean = 0, squares = 0;
    for (double value : means)
        mean += value / batches;
    for (double value : means)
        squares += (value - mean) * (value - mean);
    return {mean, sqrt(squares / (batches - 1) / batches)};
}

} // namespace

TEST(torsion_moves, a_ratio_that_is_wrong_by_half_a_kt_is_found_out) {
    double sums[2] = {0, 0};
    for (int i = 0; i < 1000; i++) {
        const double t = M_PI * (i + 0.5) / 1000;
        sums[0] += weight(-t);
        sums[1] += weight(t);
    }
    const double share = sums[1] / (sums[0] + sums[1]);
    const Share right = runChain(0);
    CHECK_NEAR(right.mean, share, 4 * right.error);

    // The same test fails, and the odds are wrong by what was claimed.

    const Share wrong = runChain(0.5);
    CHECK(fabs(wrong.mean - share) > 8 * wrong.error);
    const double odds = share / (1 - share) * exp(0.5);
    CHECK_NEAR(wrong.mean, odds / (1 + odds), 4 * wrong.error);
}

TEST(torsion_moves, known_torsions_are_measured) {
    const TorsionMoves moves(twoBlocks(), {}, 0.35);
    vector<Vec3> positions = {{1, 0, 0}, {0, 0, 0}, {0, 0, 1}, {0, 1, 1}, {0, 1, 2}, {0, 0, 2}};
    const vector<double> torsions = moves.measure(positions);

    // Looking from b to c, d is turned clockwise from a by 90 degrees: positive by IUPAC's rule.

    CHECK_NEAR(torsions[0], M_PI / 2, 1e-15);
    CHECK_NEAR(torsions[1], M_PI, 1e-15);
    CHECK_NEAR(torsions[2], 0.0, 1e-15);
}

TEST(torsion_moves, each_kind_changes_its_torsions_and_no_bond_or_angle) {
    const vector<Vec3> start = chain(6);
    const vector<vector<vector<int>>> allowed = {{{0, 1, 2}}, {{0, 1}, {2}}, {{0, 1, 2}}, {{0}}, {{1}}, {{0}, {1}, {2}}, {{0}, {1}, {2}}};
    for (int kind = 0; kind < NUM_MOVE_KINDS; kind++) {
        TorsionMoves moves(twoBlocks(), only(static_cast<MoveKind>(kind)), 0.35);
        const vector<double> torsions = moves.measure(start);
        vector<int> seen(allowed[kind].size(), 0);
        for (uint64_t attempt = 0; attempt < 40; attempt++) {
            Noise::Draws draws(7, Noise::MOVES, attempt);
            const TorsionMoves::Move move = moves.propose(torsions, draws);
            CHECK(static_cast<int>(move.kind) == kind);
            const auto found = find(allowed[kind].begin(), allowed[kind].end(), move.changed);
            CHECK(found != allowed[kind].end());
            seen[static_cast<size_t>(found - allowed[kind].begin()) % seen.size()]++;
            vector<Vec3> positions = start;
            moves.apply(positions, torsions, move);
            const vector<double> after = moves.measure(positions);
            for (int k = 0; k < 3; k++)
                CHECK_NEAR(wrapAngle(after[k] - move.torsions[k]), 0.0, 1e-11);
            for (int i = 0; i + 1 < 6; i++)
                for (int j = i + 1; j < min(6, i + 3); j++) {
                    const Vec3 old = start[j] - start[i], now = positions[j] - positions[i];
                    CHECK_NEAR(now.dot(now), old.dot(old), 1e-14);
                }
            for (int i = 0; i < 3; i++)
                CHECK(positions[i] == start[i]);
        }
        for (int count : seen)
            CHECK(count > 0);
    }
}

TEST(torsion_moves, the_way_back_has_the_opposite_ratio) {
    // log q(old | new) - log q(new | old), worked out from the density by itself, both ways.

    const TorsionParameters p = twoBlocks();
    const TorsionDensity density(p);
    const vector<double> old = {2.5, -3.0, 0.4};
    const auto forward = [&](MoveKind kind, const vector<double>& from, const vector<double>& to, const vector<int>& changed) {
        if (kind == MoveKind::Small)
            return 0.0;
        if (kind == MoveKind::All || kind == MoveKind::Neighbours) {
            const vector<double> halfway = {to[0], to[1], from[2]};
            return density.logBlock(0, to.data(), from, TorsionDensity::Gates::Sequential) +
                   density.logBlock(1, &to[2], halfway, TorsionDensity::Gates::Sequential);
        }
        const int block = changed[0] < 2 ? 0 : 1;
        return density.logBlock(block, &to[2 * block], from, TorsionDensity::Gates::Conditional);
    };
    for (int kind = 0; kind < NUM_MOVE_KINDS; kind++) {
        TorsionMoves moves(p, only(static_cast<MoveKind>(kind)), 0.35);
        for (uint64_t attempt = 0; attempt < 20; attempt++) {
            Noise::Draws draws(8, Noise::MOVES, attempt);
            const TorsionMoves::Move move = moves.propose(old, draws);
            const double there = forward(move.kind, old, move.torsions, move.changed);
            const double back = forward(move.kind, move.torsions, old, move.changed);
            CHECK_NEAR(move.logRatio, back - there, 1e-12);
        }
    }
}

TEST(torsion_moves, shares_choose_kinds_that_have_a_target) {
    TorsionMoves moves(twoBlocks(), {}, 0.35);
    CHECK(TorsionMoves::getDefaultShares(2) == vector<double>({1, 2, 1, 2, 2, 2, 0}));
    CHECK(TorsionMoves::getDefaultShares(5) == vector<double>({0, 2, 1, 2, 2, 2, 0}));
    const vector<double> torsions = {0.1, 0.2, 0.3};
    vector<int> counts(NUM_MOVE_KINDS, 0);
    const int tries = 10000;
    for (uint64_t attempt = 0; attempt < tries; attempt++) {
        Noise::Draws draws(9, Noise::MOVES, attempt);
        counts[static_cast<int>(moves.propose(torsions, draws).kind)]++;
    }
    for (int kind = 0; kind < NUM_MOVE_KINDS; kind++) {
        const double share = TorsionMoves::getDefaultShares(2)[kind] / 10;
        CHECK_NEAR(counts[kind], tries * share, 5 * sqrt(tries * share * (1 - share)));
    }

    // Without a side chain there is nothing to move given the other.

    TorsionParameters plain = twoBlocks();
    plain.torsionBackbone = {1, 1, 1};
    CHECK_THROWS(TorsionMoves(plain, only(MoveKind::Sidechain), 0.35), "no kind of move that has a share");
}

TEST(torsion_moves, constraints_that_would_change_are_refused) {
    const TorsionMoves moves(twoBlocks(), {}, 0.35);
    System bonds;
    build(bonds);
    for (int i = 0; i + 1 < 6; i++)
        bonds.addConstraint(i, i + 1, 0.1);
    moves.checkSystem(bonds);

    // The distance across a torsion, and an angle that is held on one side only.

    System across;
    build(across);
    across.addConstraint(0, 3, 0.3);
    CHECK_THROWS(moves.checkSystem(across), "torsion 0 of the moves would change the constraint between particles 3 and 0");
    System angle;
    build(angle);
    angle.addConstraint(0, 2, 0.2);
    angle.addConstraint(2, 3, 0.1);
    CHECK_THROWS(moves.checkSystem(angle), "torsion 0 of the moves would turn the constraint of particles 3 and 2 against that of 2 and 0");
}

TEST(torsion_moves, particles_that_cannot_turn_are_refused) {
    const TorsionMoves moves(twoBlocks(), {}, 0.35);
    System held;
    build(held);
    held.setParticleMass(5, 0);
    CHECK_THROWS(moves.checkSystem(held), "turns particle 5, which has no mass");
    held.setVirtualSite(5, new TwoParticleAverageSite(0, 1, 0.5, 0.5));
    CHECK_THROWS(moves.checkSystem(held), "turns particle 5, which is a virtual site");
    System small;
    small.addParticle(1);
    CHECK_THROWS(moves.checkSystem(small), "names particle 1, but the System has 1 particles");
}
