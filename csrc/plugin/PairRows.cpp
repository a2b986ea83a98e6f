// Loops over atoms are written for the compiler's vectoriser; the build gives this file its own options.

#include "PairRows.h"

#include "VectorMath.h"
#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

static const float FAR = 1e4f;

// What is added to the cutoff in the search for neighbours (in nm), so that a rounding loses none.
static const double MARGIN = 1e-3;

Vec3 wrapPoint(Vec3 point, const BoxVectors& box) {
    for (int k = 2; k >= 0; k--)
        point -= box[static_cast<size_t>(k)] * floor(point[k] / box[static_cast<size_t>(k)][k]);
    return point;
}

void PairAtoms::reset(size_t size) {
    const size_t padded = (size + LANES - 1) / LANES * LANES;
    x.assign(padded, FAR);
    y = z = x;
    charge.assign(padded, 0);
    halfSigma = rootEpsilon = charge;
}

void PairAtoms::place(size_t slot, const Vec3& position) {
    x[slot] = static_cast<float>(position[0]);
    y[slot] = static_cast<float>(position[1]);
    z[slot] = static_cast<float>(position[2]);
}

void PairAtoms::show(size_t slot, const PairParameters& parameters) {
    charge[slot] = parameters.charge;
    halfSigma[slot] = parameters.halfSigma;
    rootEpsilon[slot] = parameters.rootEpsilon;
}

void PairAtoms::hide(size_t slot) {
    show(slot, {});
}

static inline float pairEnergy(const PairRule& rule, float r2, float product, float sigma, float depth) {
    const float r = larger(sqrtf(r2), CLOSEST), inverse = 1.0f / r;
    const float s = sigma * inverse, s2 = s * s, s6 = s2 * s2 * s2, t = larger((r - rule.switchDistance) * rule.switchScale, 0.0f);
    const float smooth = 1.0f + t * t * t * (t * (15.0f - 6.0f * t) - 10.0f);
    const float energy = product * (inverse + r * (rule.linear + rule.square * r) - rule.shift) + 4.0f * depth * s6 * (s6 - 1.0f) * smooth;
    return r2 < rule.cutoff2 ? energy : 0.0f;
}

ATMOS_WIDEST
static float addRow(const PairRule rule, size_t count, const float* x, const float* y, const float* z, const float* charge, const float* halfSigma,
                    const float* rootEpsilon, float x0, float y0, float z0, const PairParameters own) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t j = 0; j < count; j++) {
        const float dx = x[j] - x0, dy = y[j] - y0, dz = z[j] - z0;
        sum += pairEnergy(rule, dx * dx + dy * dy + dz * dz, own.charge * charge[j], own.halfSigma + halfSigma[j], own.rootEpsilon * rootEpsilon[j]);
    }
    return sum;
}

/** Reduced box vectors: a along x, b in the plane of x and y. */
struct FlatBox {
    float ax, bx, by, cx, cy, cz;
};

ATMOS_WIDEST
static double addNearest(const PairRule rule, const FlatBox box, size_t count, const float* x, const float* y, const float* z, const float* charge,
                         const float* halfSigma, const float* rootEpsilon, float x0, float y0, float z0, const PairParameters own) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t j = 0; j < count; j++) {
        float dx = x[j] - x0, dy = y[j] - y0, dz = z[j] - z0;
        const float c = nearest(dz / box.cz);
        dx -= c * box.cx;
        dy -= c * box.cy;
        dz -= c * box.cz;
        const float b = nearest(dy / box.by);
        dx -= b * box.bx;
        dy -= b * box.by;
        dx -= nearest(dx / box.ax) * box.ax;
        sum += pairEnergy(rule, dx * dx + dy * dy + dz * dz, own.charge * charge[j], own.halfSigma + halfSigma[j], own.rootEpsilon * rootEpsilon[j]);
    }
    return sum;
}

double sumRow(const PairRule& rule, const PairAtoms& atoms, size_t first, size_t blocks, const Vec3& position, const PairParameters& parameters) {
    return addRow(rule, blocks * PairAtoms::LANES, &atoms.x[first], &atoms.y[first], &atoms.z[first], &atoms.charge[first], &atoms.halfSigma[first],
                  &atoms.rootEpsilon[first], static_cast<float>(position[0]), static_cast<float>(position[1]), static_cast<float>(position[2]),
                  parameters);
}

double sumNearest(const PairRule& rule, const PairAtoms& atoms, const Vec3& position, const PairParameters& parameters, const BoxVectors& box) {
    const auto entry = [&](size_t vector, int k) { return static_cast<float>(box[vector][k]); };
    const FlatBox flat = {entry(0, 0), entry(1, 0), entry(1, 1), entry(2, 0), entry(2, 1), entry(2, 2)};
    return addNearest(rule, flat, atoms.x.size(), atoms.x.data(), atoms.y.data(), atoms.z.data(), atoms.charge.data(), atoms.halfSigma.data(),
                      atoms.rootEpsilon.data(), static_cast<float>(position[0]), static_cast<float>(position[1]), static_cast<float>(position[2]),
                      parameters);
}

void FixedAtoms::build(const vector<int>& members, const vector<Vec3>& positions, const BoxVectors& vectors, double distance,
                       const vector<PairParameters>& parameters) {
    box = vectors;
    cutoff = distance + MARGIN;
    known = parameters;

    // Columns of half a cutoff or, where atoms are few, of some atoms each.

    const double sideY = box[1][1], sideZ = box[2][2];
    const double width = max(0.5 * distance, sqrt(8 * sideY * sideZ / static_cast<double>(members.size() + 1)));
    numY = max(1, static_cast<int>(sideY / width));
    numZ = max(1, static_cast<int>(sideZ / width));
    height = sideY / numY;
    depth = sideZ / numZ;
    vector<tuple<int, float, int>> order;
    vector<Vec3> wrapped(positions.size());
    for (int atom : members) {
        const Vec3 p = wrapped[static_cast<size_t>(atom)] = wrapPoint(positions[static_cast<size_t>(atom)], box);
        const int iy = clamp(static_cast<int>(p[1] / height), 0, numY - 1), iz = clamp(static_cast<int>(p[2] / depth), 0, numZ - 1);
        order.emplace_back(iz * numY + iy, static_cast<float>(p[0]), atom);
    }
    sort(order.begin(), order.end());

    // Behind each column there is room for a block that is not full.

    const size_t columns = static_cast<size_t>(numY) * static_cast<size_t>(numZ);
    atoms.reset(members.size() + columns * PairAtoms::LANES);
    begins.assign(columns, 0);
    ends = begins;
    slots.assign(positions.size(), 0);
    size_t slot = 0, next = 0;
    for (size_t column = 0; column < columns; column++) {
        begins[column] = slot;
        for (; next < order.size() && get<0>(order[next]) == static_cast<int>(column); next++, slot++) {
            const size_t atom = static_cast<size_t>(get<2>(order[next]));
            atoms.place(slot, wrapped[atom]);
            atoms.show(slot, parameters[atom]);
            slots[atom] = slot;
        }
        ends[column] = slot;
        slot += PairAtoms::LANES;
    }
}

double FixedAtoms::sumColumn(const PairRule& rule, size_t column, Vec3 position, const PairParameters& parameters, double reach) const {
    const auto begin = atoms.x.begin() + static_cast<ptrdiff_t>(begins[column]), end = atoms.x.begin() + static_cast<ptrdiff_t>(ends[column]);
    const double side = box[0][0];
    double energy = 0;
    const int last = static_cast<int>(floor((position[0] + reach) / side));
    for (int image = static_cast<int>(floor((position[0] - reach) / side)); image <= last; image++) {
        const Vec3 shifted = position - box[0] * image;
        const auto from = lower_bound(begin, end, static_cast<float>(shifted[0] - reach));
        const auto to = upper_bound(from, end, static_cast<float>(shifted[0] + reach));
        const size_t count = static_cast<size_t>(to - from), first = static_cast<size_t>(from - atoms.x.begin());
        energy += sumRow(rule, atoms, first, (count + PairAtoms::LANES - 1) / PairAtoms::LANES, shifted, parameters);
    }
    return energy;
}

/** How far a number is outside of an interval. */
static double outside(double value, double low, double high) {
    return max({low - value, value - high, 0.0});
}

double FixedAtoms::sum(const PairRule& rule, const Vec3& point, const PairParameters& parameters, const vector<int>& excluded) {
    if (!isfinite(point.dot(point)))
        return numeric_limits<double>::quiet_NaN();
    for (int atom : excluded)
        atoms.hide(slots[static_cast<size_t>(atom)]);

    // All images of columns that come near enough: the point moves against the box.

    const auto quotient = [](int cell, int count) { return (cell >= 0 ? cell : cell - count + 1) / count; };
    const Vec3 p = wrapPoint(point, box);
    double energy = 0;
    const int lastZ = static_cast<int>(floor((p[2] + cutoff) / depth));
    for (int iz = static_cast<int>(floor((p[2] - cutoff) / depth)); iz <= lastZ; iz++) {
        const int imageZ = quotient(iz, numZ), cellZ = iz - imageZ * numZ;
        const Vec3 q = p - box[2] * imageZ;
        const double gapZ = outside(q[2], cellZ * depth, (cellZ + 1) * depth), reachY = sqrt(max(cutoff * cutoff - gapZ * gapZ, 0.0));
        const int lastY = static_cast<int>(floor((q[1] + reachY) / height));
        for (int iy = static_cast<int>(floor((q[1] - reachY) / height)); iy <= lastY; iy++) {
            const int imageY = quotient(iy, numY), cellY = iy - imageY * numY;
            const Vec3 s = q - box[1] * imageY;
            const double gapY = outside(s[1], cellY * height, (cellY + 1) * height);
            const double reachX = sqrt(max(reachY * reachY - gapY * gapY, 0.0));
            energy += sumColumn(rule, static_cast<size_t>(cellZ * numY + cellY), s, parameters, reachX);
        }
    }
    for (int atom : excluded)
        atoms.show(slots[static_cast<size_t>(atom)], known[static_cast<size_t>(atom)]);
    return energy;
}

} // namespace AtmosPlugin
