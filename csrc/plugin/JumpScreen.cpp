#include "JumpScreen.h"

#include "Superposition.h"
#include "openmm/OpenMMException.h"
#include <algorithm>
#include <cmath>
#include <sstream>

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

// A triple product of unit vectors below this is flat or inverted.
static const double MIN_CHIRAL_VOLUME = 0.05;

static void requireAtoms(const char* list, const vector<int>& atoms, size_t groupSize, int numAtoms) {
    if (atoms.size() % groupSize != 0) {
        stringstream message;
        message << "AtmosIntegrator: the screen's list of " << list << " has " << atoms.size() << " atom numbers, which is no multiple of "
                << groupSize;
        throw OpenMMException(message.str());
    }
    for (int atom : atoms)
        if (atom < 0 || atom >= numAtoms) {
            stringstream message;
            message << "AtmosIntegrator: the screen's list of " << list << " names atom " << atom << ", but the model's atoms are numbered 0 to "
                    << numAtoms - 1;
            throw OpenMMException(message.str());
        }
}

static void requireCount(const char* list, size_t found, size_t expected) {
    if (found != expected) {
        stringstream message;
        message << "AtmosIntegrator: the screen has " << found << " " << list << ", expected " << expected;
        throw OpenMMException(message.str());
    }
}

static void requirePositive(const char* name, double value) {
    if (!(value > 0)) {
        stringstream message;
        message << "AtmosIntegrator: the screen's " << name << " is " << value << ", but must be positive";
        throw OpenMMException(message.str());
    }
}

static void requireParts(const char* list, const vector<int>& sizes, const vector<int>& atoms, int smallest, int numAtoms) {
    requireAtoms(list, atoms, 1, numAtoms);
    size_t total = 0;
    for (int size : sizes) {
        if (size < smallest) {
            stringstream message;
            message << "AtmosIntegrator: the screen has " << size << " " << list << " in one part, but there must be at least " << smallest;
            throw OpenMMException(message.str());
        }
        total += static_cast<size_t>(size);
    }
    requireCount(list, atoms.size(), total);
}

void ScreenParameters::validate(int numAtoms) const {
    requireAtoms("bonds", bonds, 2, numAtoms);
    requireCount("bond lengths", bondLengths.size(), bonds.size() / 2);
    requireAtoms("chiral centers", chiralCenters, 4, numAtoms);
    requireCount("chiral signs", chiralSigns.size(), chiralCenters.size() / 4);
    for (double sign : chiralSigns)
        if (sign != 1 && sign != -1)
            throw OpenMMException("AtmosIntegrator: the screen's chiral signs must be +1 or -1");
    requireAtoms("cis/trans torsions", cisTrans, 4, numAtoms);
    for (int size : ringSizes)
        if (size < 3)
            throw OpenMMException("AtmosIntegrator: the screen has a ring of fewer than 3 atoms");
    requireParts("ring atoms", ringSizes, ringAtoms, 3, numAtoms);
    requireParts("fragment atoms", fragmentSizes, fragmentAtoms, 1, numAtoms);
    requireParts("anchors", anchorSizes, anchorAtoms, 3, numAtoms);
    requireCount("lists of anchors", anchorSizes.size(), fragmentSizes.size());
    for (int anchor : anchorAtoms)
        if (find(fragmentAtoms.begin(), fragmentAtoms.end(), anchor) != fragmentAtoms.end())
            throw OpenMMException("AtmosIntegrator: an anchor of the screen's fragments moves itself");
    if (!radii.empty())
        requireCount("radii", radii.size(), static_cast<size_t>(numAtoms));
    requirePositive("bond tolerance", bondTolerance);
    requirePositive("largest displacement", maxDisplacement);
    requirePositive("constraint tolerance", constraintTolerance);
    if (!(clashFactor >= 0) || !(environmentDistance >= 0))
        throw OpenMMException("AtmosIntegrator: the screen's clash factor and environment distance must not be negative");
}

JumpScreen::JumpScreen(const ScreenParameters& parameters, int numAtoms) : parameters(parameters), numAtoms(numAtoms), nearAtoms(numAtoms) {
    parameters.validate(numAtoms);

    // Unpack the rings.

    size_t next = 0;
    for (int size : parameters.ringSizes) {
        rings.emplace_back(parameters.ringAtoms.begin() + next, parameters.ringAtoms.begin() + next + size);
        next += static_cast<size_t>(size);
    }

    // For each atom, walk three bonds in every direction.

    vector<vector<int>> neighbors(numAtoms);
    for (size_t i = 0; i < parameters.bonds.size(); i += 2) {
        neighbors[parameters.bonds[i]].push_back(parameters.bonds[i + 1]);
        neighbors[parameters.bonds[i + 1]].push_back(parameters.bonds[i]);
    }
    for (int atom = 0; atom < numAtoms; atom++) {
        vector<int> reached = {atom}, shell = {atom};
        for (int distance = 0; distance < 3; distance++) {
            vector<int> nextShell;
            for (int inner : shell)
                for (int outer : neighbors[inner])
                    if (find(reached.begin(), reached.end(), outer) == reached.end()) {
                        reached.push_back(outer);
                        nextShell.push_back(outer);
                    }
            shell = nextShell;
        }
        for (int other : reached)
            if (other > atom)
                nearAtoms[atom].push_back(other);
        sort(nearAtoms[atom].begin(), nearAtoms[atom].end());
    }
}

vector<Vec3> JumpScreen::place(const vector<Vec3>& frame, const vector<Vec3>& before) const {
    if (!hasFragments())
        return superpose(frame, before);
    vector<Vec3> placed = before;
    auto atom = parameters.fragmentAtoms.begin();
    auto anchor = parameters.anchorAtoms.begin();
    for (size_t i = 0; i < parameters.fragmentSizes.size(); i++) {
        const vector<int> anchors(anchor, anchor + parameters.anchorSizes[i]);
        const vector<Vec3> moved = superpose(frame, before, anchors);
        for (int k = 0; k < parameters.fragmentSizes[i]; k++, ++atom)
            placed[*atom] = moved[*atom];
        anchor += parameters.anchorSizes[i];
    }
    return placed;
}

bool JumpScreen::moves(int atom) const {
    const vector<int>& moved = parameters.fragmentAtoms;
    return !hasFragments() || find(moved.begin(), moved.end(), atom) != moved.end();
}

Reason JumpScreen::checkGeometry(const vector<Vec3>& before, const vector<Vec3>& after) const {
    if (!bondsHold(after))
        return Reason::Bonds;
    const Reason stereochemistry = checkStereochemistry(before, after);
    if (stereochemistry != Reason::Accepted)
        return stereochemistry;
    if (!ringsAreFree(after))
        return Reason::Rings;
    if (!isFreeOfClashes(after))
        return Reason::Clash;
    return Reason::Accepted;
}

Reason JumpScreen::checkStereochemistry(const vector<Vec3>& before, const vector<Vec3>& after) const {
    if (!chiralityHolds(after))
        return Reason::Chirality;
    if (!cisTransHolds(before, after))
        return Reason::CisTrans;
    return Reason::Accepted;
}

bool JumpScreen::bondsHold(const vector<Vec3>& x) const {
    for (size_t i = 0; i < parameters.bondLengths.size(); i++) {
        const Vec3 bond = x[parameters.bonds[2 * i + 1]] - x[parameters.bonds[2 * i]];
        if (fabs(sqrt(bond.dot(bond)) - parameters.bondLengths[i]) > parameters.bondTolerance)
            return false;
    }
    return true;
}

bool JumpScreen::chiralityHolds(const vector<Vec3>& x) const {
    for (size_t i = 0; i < parameters.chiralSigns.size(); i++) {
        const int* atoms = &parameters.chiralCenters[4 * i];
        const Vec3 a = x[atoms[1]] - x[atoms[0]];
        const Vec3 b = x[atoms[2]] - x[atoms[0]];
        const Vec3 d = x[atoms[3]] - x[atoms[0]];
        const double volume = a.dot(b.cross(d)) / sqrt(a.dot(a) * b.dot(b) * d.dot(d));

        // Written so that the undefined volume of coincident atoms fails too.

        if (!(volume * parameters.chiralSigns[i] >= MIN_CHIRAL_VOLUME))
            return false;
    }
    return true;
}

static bool isTrans(const vector<Vec3>& x, const int* atoms) {
    // Only the sign of the cosine of the torsion is wanted, so nothing is normalised.

    const Vec3 b1 = x[atoms[1]] - x[atoms[0]];
    const Vec3 b2 = x[atoms[2]] - x[atoms[1]];
    const Vec3 b3 = x[atoms[3]] - x[atoms[2]];
    return b1.cross(b2).dot(b2.cross(b3)) < 0;
}

bool JumpScreen::cisTransHolds(const vector<Vec3>& before, const vector<Vec3>& after) const {
    for (size_t i = 0; i < parameters.cisTrans.size(); i += 4)
        if (isTrans(before, &parameters.cisTrans[i]) != isTrans(after, &parameters.cisTrans[i]))
            return false;
    return true;
}

/**
 * Decide whether the segment from p to q crosses the triangle (a, b, c) (Moller and Trumbore, 1997).
 */
static bool crossesTriangle(const Vec3& p, const Vec3& q, const Vec3& a, const Vec3& b, const Vec3& c) {
    const Vec3 direction = q - p;
    const Vec3 edge1 = b - a;
    const Vec3 edge2 = c - a;
    const Vec3 h = direction.cross(edge2);
    const double determinant = edge1.dot(h);
    if (determinant == 0)
        return false;
    const Vec3 s = p - a;
    const double u = s.dot(h) / determinant;
    const Vec3 k = s.cross(edge1);
    const double v = direction.dot(k) / determinant;
    const double t = edge2.dot(k) / determinant;
    return u >= 0 && v >= 0 && u + v <= 1 && t >= 0 && t <= 1;
}

bool JumpScreen::ringsAreFree(const vector<Vec3>& x) const {
    for (const vector<int>& ring : rings) {
        vector<Vec3> corners;
        for (int atom : ring)
            corners.push_back(x[atom]);
        const Vec3 center = centroid(corners);
        double radius2 = 0;
        for (const Vec3& corner : corners)
            radius2 = max(radius2, (corner - center).dot(corner - center));
        for (size_t i = 0; i < parameters.bonds.size(); i += 2) {
            const int first = parameters.bonds[i], second = parameters.bonds[i + 1];

            // Most bonds are too far away: their middle is further from the centroid than the ring's radius
            // and half of their length.

            const Vec3 bond = x[second] - x[first];
            const Vec3 toMiddle = (x[first] + x[second]) * 0.5 - center;
            const double reach = sqrt(radius2) + 0.5 * sqrt(bond.dot(bond));
            if (toMiddle.dot(toMiddle) > reach * reach)
                continue;
            if (find(ring.begin(), ring.end(), first) != ring.end() || find(ring.begin(), ring.end(), second) != ring.end())
                continue;
            for (size_t k = 0; k < corners.size(); k++)
                if (crossesTriangle(x[first], x[second], center, corners[k], corners[(k + 1) % corners.size()]))
                    return false;
        }
    }
    return true;
}

bool JumpScreen::isFreeOfClashes(const vector<Vec3>& x) const {
    if (parameters.radii.empty())
        return true;
    for (int i = 0; i < numAtoms; i++) {
        auto near = nearAtoms[i].begin();
        for (int j = i + 1; j < numAtoms; j++) {
            if (near != nearAtoms[i].end() && *near == j) {
                ++near;
                continue;
            }
            const double limit = parameters.clashFactor * (parameters.radii[i] + parameters.radii[j]);
            const Vec3 delta = x[j] - x[i];
            if (delta.dot(delta) < limit * limit)
                return false;
        }
    }
    return true;
}

static Vec3 minimumImage(Vec3 delta, const Vec3* box) {
    delta -= box[2] * floor(delta[2] / box[2][2] + 0.5);
    delta -= box[1] * floor(delta[1] / box[1][1] + 0.5);
    delta -= box[0] * floor(delta[0] / box[0][0] + 0.5);
    return delta;
}

Reason JumpScreen::checkEnvironment(const vector<Vec3>& after, const vector<Vec3>& environment, const Vec3* box) const {
    // A particle further from the centroid than the model's radius plus the limit needs no closer look.  In
    // a periodic box that holds while this sphere is smaller than half of the box.

    const Vec3 center = centroid(after);
    double radius2 = 0;
    for (const Vec3& x : after)
        radius2 = max(radius2, (x - center).dot(x - center));
    const double reach = sqrt(radius2) + parameters.environmentDistance;
    const bool prune = box == nullptr || 2 * reach < min({box[0][0], box[1][1], box[2][2]});
    const double limit2 = parameters.environmentDistance * parameters.environmentDistance;
    for (const Vec3& particle : environment) {
        const Vec3 fromCenter = box == nullptr ? particle - center : minimumImage(particle - center, box);
        if (prune && fromCenter.dot(fromCenter) > reach * reach)
            continue;
        for (const Vec3& x : after) {
            const Vec3 delta = box == nullptr ? particle - x : minimumImage(particle - x, box);
            if (delta.dot(delta) < limit2)
                return Reason::Environment;
        }
    }
    return Reason::Accepted;
}

} // namespace AtmosPlugin
