// Lengths are chosen so that limits are exact in binary: one step of a double tells the two sides.

#include "JumpScreen.h"
#include "check.h"

#include <cmath>
#include <limits>

using namespace AtmosPlugin;
using namespace OpenMM;
using namespace std;

namespace {

using Points = vector<Vec3>;

const double HUGE_TOLERANCE = 1e6;

double justAbove(double x) {
    return nextafter(x, numeric_limits<double>::infinity());
}

double justBelow(double x) {
    return nextafter(x, -numeric_limits<double>::infinity());
}

/** A screen that checks what is set afterwards, and of the bonds only which there are. */
ScreenParameters withBonds(const vector<int>& bonds) {
    ScreenParameters screen;
    screen.bonds = bonds;
    screen.bondLengths.assign(bonds.size() / 2, 1.0);
    screen.bondTolerance = HUGE_TOLERANCE;
    return screen;
}

string verdict(const ScreenParameters& screen, const Points& after) {
    return reasonName(JumpScreen(screen, static_cast<int>(after.size())).checkGeometry(after, after));
}

string verdict(const ScreenParameters& screen, const Points& before, const Points& after) {
    return reasonName(JumpScreen(screen, static_cast<int>(after.size())).checkGeometry(before, after));
}

string surroundings(double distance, const Points& after, const Points& environment, const Vec3* box) {
    ScreenParameters screen;
    screen.environmentDistance = distance;
    return reasonName(JumpScreen(screen, static_cast<int>(after.size())).checkEnvironment(after, environment, box));
}

/** A centre with neighbours along x and y and a third one that makes the normalised volume `volume`. */
Points center(double volume) {
    return {{0, 0, 0}, {0.1, 0, 0}, {0, 0.2, 0}, {0.15 * sqrt(1 - volume * volume), 0, 0.15 * volume}};
}

/** A chain of four with a given torsion. */
Points torsion(double angle) {
    return {{0, 1, 0}, {0, 0, 0}, {1, 0, 0}, {1, cos(angle), sin(angle)}};
}

/** A flat hexagon of radius 1 and a bond from (x, 0, -1) to (x, 0, 1). */
Points ringAndBond(double x) {
    Points points;
    for (int i = 0; i < 6; i++)
        points.emplace_back(cos(i * M_PI / 3), sin(i * M_PI / 3), 0);
    points.emplace_back(x, 0, -1);
    points.emplace_back(x, 0, 1);
    return points;
}

ScreenParameters ringScreen(const vector<int>& otherBonds) {
    vector<int> bonds = {0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 0};
    bonds.insert(bonds.end(), otherBonds.begin(), otherBonds.end());
    ScreenParameters screen = withBonds(bonds);
    screen.ringSizes = {6};
    screen.ringAtoms = {0, 1, 2, 3, 4, 5};
    return screen;
}

} // namespace

TEST(screen, empty_lists_check_nothing) {
    CHECK_EQUAL(verdict(ScreenParameters(), {{0, 0, 0}, {0, 0, 0}, {0, 0, 0}}), "accepted");
}

TEST(screen, bonds_may_be_off_by_the_tolerance) {
    ScreenParameters screen = withBonds({0, 1});
    screen.bondTolerance = 0.25;
    for (double length : {0.75, 1.0, 1.25})
        CHECK_EQUAL(verdict(screen, {{0, 0, 0}, {0, length, 0}}), "accepted");
    for (double length : {0.0, justBelow(0.75), justAbove(1.25), 1e10})
        CHECK_EQUAL(verdict(screen, {{0, 0, 0}, {0, length, 0}}), "bonds");
}

TEST(screen, chiral_centers_keep_their_hand) {
    ScreenParameters screen;
    screen.chiralCenters = {0, 1, 2, 3};
    screen.chiralSigns = {1};
    CHECK_EQUAL(verdict(screen, center(0.7)), "accepted");
    CHECK_EQUAL(verdict(screen, center(0.0501)), "accepted");
    for (double volume : {0.0499, 0.0, -0.7})
        CHECK_EQUAL(verdict(screen, center(volume)), "chirality");
    screen.chiralSigns = {-1};
    CHECK_EQUAL(verdict(screen, center(0.7)), "chirality");
    CHECK_EQUAL(verdict(screen, center(-0.7)), "accepted");

    // A neighbour on the centre: the volume is not a number.

    CHECK_EQUAL(verdict(screen, {{0, 0, 0}, {0, 0, 0}, {0, 1, 0}, {0, 0, 1}}), "chirality");
}

TEST(screen, torsions_stay_cis_or_trans) {
    ScreenParameters screen;
    screen.cisTrans = {0, 1, 2, 3};
    const double right = M_PI / 2;
    for (double sign : {-1.0, 1.0}) {
        CHECK_EQUAL(verdict(screen, torsion(0.1), torsion(sign * (right - 1e-9))), "accepted");
        CHECK_EQUAL(verdict(screen, torsion(0.1), torsion(sign * (right + 1e-9))), "cis_trans");
        CHECK_EQUAL(verdict(screen, torsion(3.0), torsion(sign * (right + 1e-9))), "accepted");
        CHECK_EQUAL(verdict(screen, torsion(3.0), torsion(sign * (right - 1e-9))), "cis_trans");
    }
}

TEST(screen, no_bond_runs_through_a_ring) {
    const ScreenParameters screen = ringScreen({6, 7});
    CHECK_EQUAL(verdict(screen, ringAndBond(0.4)), "rings");
    CHECK_EQUAL(verdict(screen, ringAndBond(-0.99)), "rings");
    CHECK_EQUAL(verdict(screen, ringAndBond(1.01)), "accepted");

    // Bonds that end short of the ring, and one that starts in it.

    Points above = ringAndBond(0.4), below = above;
    above[6][2] = 0.01;
    below[7][2] = -0.01;
    CHECK_EQUAL(verdict(screen, above), "accepted");
    CHECK_EQUAL(verdict(screen, below), "accepted");
    CHECK_EQUAL(verdict(ringScreen({0, 7}), ringAndBond(0.4)), "accepted");
}

TEST(screen, atoms_more_than_three_bonds_apart_keep_their_distance) {
    ScreenParameters screen;
    screen.radii = {0.75, 1.25};
    CHECK_EQUAL(verdict(screen, {{0, 0, 0}, {1, 0, 0}}), "accepted");
    CHECK_EQUAL(verdict(screen, {{0, 0, 0}, {justBelow(1), 0, 0}}), "clash");
    screen.clashFactor = 0.25;
    CHECK_EQUAL(verdict(screen, {{0, 0, 0}, {justBelow(1), 0, 0}}), "accepted");

    // In a chain of five only the ends are four bonds apart.

    ScreenParameters chain = withBonds({0, 1, 1, 2, 2, 3, 3, 4});
    chain.radii.assign(5, 1.0);
    Points points(5);
    CHECK_EQUAL(verdict(chain, points), "clash");
    points[4] = Vec3(1, 0, 0);
    CHECK_EQUAL(verdict(chain, points), "accepted");
    ScreenParameters closed = withBonds({0, 1, 1, 2, 2, 3, 3, 4, 4, 0});
    closed.radii = chain.radii;
    CHECK_EQUAL(verdict(closed, Points(5)), "accepted");
}

TEST(screen, the_first_check_that_fails_names_the_frame) {
    // Everything is wrong with eight atoms in one place; the checks go in turn.

    ScreenParameters screen = ringScreen({6, 7});
    screen.bondTolerance = 0.5;
    screen.chiralCenters = {0, 1, 2, 3};
    screen.chiralSigns = {1};
    screen.radii.assign(8, 1.1);
    CHECK_EQUAL(verdict(screen, Points(8)), "bonds");
    screen.bondTolerance = HUGE_TOLERANCE;
    CHECK_EQUAL(verdict(screen, Points(8)), "chirality");
    screen.chiralSigns.clear();
    screen.chiralCenters.clear();
    screen.cisTrans = {0, 1, 2, 3};
    CHECK_EQUAL(verdict(screen, ringAndBond(0.4)), "rings");
    Points opened = ringAndBond(0.4);
    opened[3] = Vec3(2, 2, 0);
    CHECK_EQUAL(verdict(screen, opened, ringAndBond(0.4)), "cis_trans");
    CHECK_EQUAL(verdict(screen, ringAndBond(1.01)), "clash");
}

TEST(screen, stereochemistry_alone_looks_at_nothing_else) {
    ScreenParameters screen = withBonds({0, 1});
    screen.bondTolerance = 1e-3;
    screen.chiralCenters = {0, 1, 2, 3};
    screen.chiralSigns = {1};
    screen.radii.assign(4, 100.0);
    const JumpScreen checks(screen, 4);
    CHECK_EQUAL(reasonName(checks.checkStereochemistry(center(0.7), center(0.7))), "accepted");
    CHECK_EQUAL(reasonName(checks.checkStereochemistry(center(0.7), center(-0.7))), "chirality");
}

TEST(screen, particles_outside_the_model_keep_their_distance) {
    const Points solute = {{0, 0, 0}, {1, 0, 0}};
    CHECK_EQUAL(surroundings(0.5, solute, {}, nullptr), "accepted");
    CHECK_EQUAL(surroundings(0.5, solute, {{1.5, 0, 0}, {9, 9, 9}}, nullptr), "accepted");
    CHECK_EQUAL(surroundings(0.5, solute, {{9, 9, 9}, {justBelow(1.5), 0, 0}}, nullptr), "environment");
    CHECK_EQUAL(surroundings(0, solute, {{1, 0, 0}}, nullptr), "accepted");
}

TEST(screen, particles_are_as_near_as_their_nearest_image) {
    for (double size : {16.0, 2.0}) {
        const Vec3 box[3] = {{size, 0, 0}, {size / 4, size, 0}, {-size / 4, size / 4, size}};
        const Points solute = {{0, 0, 0}, {0.5, 0, 0}};
        const Vec3 image = box[0] * 3 - box[1] * 2 + box[2];
        CHECK_EQUAL(surroundings(0.25, solute, {image + Vec3(0.75, 0, 0)}, box), "accepted");
        CHECK_EQUAL(surroundings(0.25, solute, {image + Vec3(0.7, 0, 0)}, box), "environment");
        CHECK_EQUAL(surroundings(0.25, solute, {image + Vec3(0.7, 0, 0)}, nullptr), "accepted");
    }

    // The model fills the box.  The particle is near its second atom; from its centroid the reduced form leads to
    // an image farther away than the whole model reaches.

    const Vec3 box[3] = {{2, 0, 0}, {0.5, 2, 0}, {-0.5, 0.5, 2}};
    CHECK_EQUAL(surroundings(0.25, {{0.4, -0.9, 0}, {-0.4, 0.9, 0}}, {{-0.45, 1.01, 0}}, box), "environment");
}

TEST(screen, fragments_are_placed_by_their_anchors_and_nothing_else_moves) {
    const Points before = {{0, 0, 0}, {0.1, 0, 0}, {0, 0.2, 0}, {0, 0, 0.3}, {0.5, 0, 0}, {0.6, 0.1, 0}, {0.5, 0, 0.2}, {0.9, 0.1, 0.1}};
    ScreenParameters screen;
    CHECK(JumpScreen(screen, 8).moves(0) && !JumpScreen(screen, 8).hasFragments());
    screen.fragmentSizes = {1, 1};
    screen.fragmentAtoms = {3, 7};
    screen.anchorSizes = {3, 3};
    screen.anchorAtoms = {0, 1, 2, 4, 5, 6};
    const JumpScreen parts(screen, 8);
    CHECK(parts.hasFragments() && parts.moves(3) && parts.moves(7) && !parts.moves(0));

    // The first half of the frame is turned about z and shifted, the second shifted elsewhere; each has its atom moved.

    Points frame;
    for (int i = 0; i < 8; i++) {
        Vec3 x = before[i];
        if (i == 3)
            x += Vec3(0.02, 0, 0);
        if (i == 7)
            x += Vec3(0, 0.03, 0);
        frame.push_back(i < 4 ? Vec3(-x[1], x[0], x[2]) + Vec3(1, 2, 3) : x + Vec3(-4, 0, 0));
    }
    const Points placed = parts.place(frame, before);
    for (int i = 0; i < 8; i++) {
        Vec3 expected = before[i];
        if (i == 3)
            expected += Vec3(0.02, 0, 0);
        if (i == 7)
            expected += Vec3(0, 0.03, 0);
        const Vec3 off = placed[i] - expected;
        CHECK(sqrt(off.dot(off)) <= (i == 3 || i == 7 ? 1e-14 : 0.0));
    }
}

TEST(screen, lists_that_do_not_fit_are_refused) {
    const auto refused = [](void (*change)(ScreenParameters&), const char* text) {
        ScreenParameters screen = ringScreen({6, 7});
        screen.validate(8);
        change(screen);
        CHECK_THROWS(screen.validate(8), text);
        CHECK_THROWS(JumpScreen(screen, 8), text);
    };
    refused([](ScreenParameters& screen) { screen.bonds.push_back(0); }, "list of bonds has 15 atom numbers, which is no multiple of 2");
    refused([](ScreenParameters& screen) { screen.bonds[3] = 8; }, "list of bonds names atom 8, but the model's atoms are numbered 0 to 7");
    refused([](ScreenParameters& screen) { screen.bonds[3] = -1; }, "list of bonds names atom -1");
    refused([](ScreenParameters& screen) { screen.bondLengths.pop_back(); }, "6 bond lengths, expected 7");
    refused([](ScreenParameters& screen) { screen.chiralCenters = {0, 1, 2}; }, "chiral centers has 3 atom numbers");
    refused([](ScreenParameters& screen) { screen.chiralCenters = {0, 1, 2, 3}; }, "0 chiral signs, expected 1");
    refused(
            [](ScreenParameters& screen) {
                screen.chiralCenters = {0, 1, 2, 3};
                screen.chiralSigns = {0.5};
            },
            "chiral signs must be +1 or -1");
    refused([](ScreenParameters& screen) { screen.cisTrans = {0, 1}; }, "cis/trans torsions has 2 atom numbers");
    refused([](ScreenParameters& screen) { screen.ringSizes = {2, 4}; }, "a ring of fewer than 3 atoms");
    refused([](ScreenParameters& screen) { screen.ringSizes = {5}; }, "6 ring atoms, expected 5");
    refused([](ScreenParameters& screen) { screen.radii = {1}; }, "1 radii, expected 8");
    refused([](ScreenParameters& screen) { screen.fragmentSizes = {1}; }, "0 fragment atoms, expected 1");
    refused(
            [](ScreenParameters& screen) {
                screen.fragmentSizes = {1};
                screen.fragmentAtoms = {3};
            },
            "0 lists of anchors, expected 1");
    refused(
            [](ScreenParameters& screen) {
                screen.fragmentSizes = {1};
                screen.fragmentAtoms = {3};
                screen.anchorSizes = {2};
                screen.anchorAtoms = {0, 1};
            },
            "2 anchors in one part, but there must be at least 3");
    refused(
            [](ScreenParameters& screen) {
                screen.fragmentSizes = {1};
                screen.fragmentAtoms = {3};
                screen.anchorSizes = {3};
                screen.anchorAtoms = {0, 1, 3};
            },
            "an anchor of the screen's fragments moves itself");
    refused([](ScreenParameters& screen) { screen.bondTolerance = 0; }, "bond tolerance is 0, but must be positive");
    refused([](ScreenParameters& screen) { screen.maxDisplacement = -1; }, "largest displacement is -1");
    refused([](ScreenParameters& screen) { screen.constraintTolerance = NAN; }, "constraint tolerance is");
    refused([](ScreenParameters& screen) { screen.clashFactor = -1; }, "must not be negative");
    refused([](ScreenParameters& screen) { screen.environmentDistance = NAN; }, "must not be negative");
}
