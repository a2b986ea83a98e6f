// Loops over columns are written for the compiler's vectoriser; the build gives this file its own options.

#include "SurrogateEnergy.h"

#include "openmm/OpenMMException.h"
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

// One build serves every x86 processor: the loader picks the widest that there is.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#define ATMOS_WIDEST __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define ATMOS_WIDEST
#endif

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

// 1 / (4 pi eps0) (in kJ nm/mol/e^2), as OpenMM has it.
static const double COULOMB = 138.935456;

// Rows are padded to a multiple of this, with atoms so far away that they have no part in anything.
static const int LANES = 16;
static const float FAR = 1e4f;

// Atoms are taken to be at least this far apart (in nm), so that no term overflows.
static const float CLOSEST = 1e-3f;

// How much farther than two radii the neck between two spheres reaches (in nm).
static const double NECK_REACH = 0.68;
static const double PROBE_RADIUS = 0.14;

static inline int32_t bitsOf(float value) {
    int32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static inline float floatOf(int32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/** exp(a) for a <= 0, to 2e-7 of itself. */
static inline float exponential(float a) {
    a = a < -80.0f ? -80.0f : a;
    const float n = static_cast<float>(static_cast<int32_t>(a * 1.44269504f - 0.5f));
    const float r = (a - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * floatOf((static_cast<int32_t>(n) + 127) << 23);
}

/** log(a) for a > 0, to 2e-7 of itself or of 1. */
static inline float logarithm(float a) {
    // a = 2^n m, m between 2/3 and 4/3.

    const int32_t n = (bitsOf(a) - 0x3f2aaaab) >> 23;
    const float m = floatOf(bitsOf(a) - (n << 23)), s = (m - 1.0f) / (m + 1.0f), s2 = s * s;
    const float series = s * (2.0f + s2 * (2.0f / 3 + s2 * (2.0f / 5 + s2 * (2.0f / 7 + s2 * (2.0f / 9)))));
    return static_cast<float>(n) * 0.693147181f + series;
}

static inline float larger(float a, float b) {
    return a > b ? a : b;
}

/** The integral of 1/r^4 over the spheres of a row, from which an effective radius comes (Hawkins, Cramer, Truhlar). */
ATMOS_WIDEST
static float integrate(int width, const float* x, const float* y, const float* z, int row, float offsetRadius, const float* scaled,
                       const float* others) {
    const float x0 = x[row], y0 = y[row], z0 = z[row];
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int j = 0; j < width; j++) {
        const float dx = x[j] - x0, dy = y[j] - y0, dz = z[j] - z0;
        const float r = larger(sqrtf(dx * dx + dy * dy + dz * dz), CLOSEST), s = scaled[j];
        const float lower = 1.0f / larger(offsetRadius, fabsf(r - s)), upper = 1.0f / larger(r + s, CLOSEST), inverse = 1.0f / r;
        const float value = lower - upper + 0.25f * (r - s * s * inverse) * (upper * upper - lower * lower) +
                            0.5f * logarithm(upper / lower) * inverse;
        sum += r + s > offsetRadius ? 0.5f * others[j] * value : 0.0f;
    }
    return sum;
}

/** What the necks between the spheres of a row add to it (Mongan, Simmerling et al.). */
ATMOS_WIDEST
static float integrateNecks(int width, const float* x, const float* y, const float* z, int row, float reach, const float* radii,
                            const float* height, const float* place) {
    const float x0 = x[row], y0 = y[row], z0 = z[row];
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int j = 0; j < width; j++) {
        const float dx = x[j] - x0, dy = y[j] - y0, dz = z[j] - z0;
        const float r = sqrtf(dx * dx + dy * dy + dz * dz), d = r - place[j], d2 = d * d;
        const float value = height[j] / (1.0f + 100.0f * d2 + 3e5f * d2 * d2 * d2);
        sum += reach + radii[j] > r ? value : 0.0f;
    }
    return sum;
}

/** Coulomb and Lennard-Jones energies of a row. */
ATMOS_WIDEST
static float sumPairs(int first, int width, const float* x, const float* y, const float* z, int row, const float* coulomb, const float* repulsion,
                      const float* attraction) {
    const float x0 = x[row], y0 = y[row], z0 = z[row];
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int j = first; j < width; j++) {
        const float dx = x[j] - x0, dy = y[j] - y0, dz = z[j] - z0;
        const float inverse = 1.0f / larger(sqrtf(dx * dx + dy * dy + dz * dz), CLOSEST);
        const float i2 = inverse * inverse, i6 = i2 * i2 * i2;
        sum += coulomb[j] * inverse + i6 * (repulsion[j] * i6 - attraction[j]);
    }
    return sum;
}

/** Polarisation energies of a row (Still et al.). */
ATMOS_WIDEST
static float sumBorn(int first, int width, const float* x, const float* y, const float* z, int row, const float* effective, const float* born) {
    const float x0 = x[row], y0 = y[row], z0 = z[row], own = effective[row];
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int j = first; j < width; j++) {
        const float dx = x[j] - x0, dy = y[j] - y0, dz = z[j] - z0;
        const float r2 = dx * dx + dy * dy + dz * dz, product = own * effective[j];
        sum += born[j] / sqrtf(r2 + product * exponential(-0.25f * r2 / product));
    }
    return sum;
}

/** Decide whether turning a group about its axis can change the torsion of four atoms. */
static bool changes(const array<int, 4>& atoms, const vector<bool>& turns, const array<int, 2>& axis) {
    bool inside = false, outside = false;
    for (int atom : atoms)
        if (atom != axis[0] && atom != axis[1])
            (turns[static_cast<size_t>(atom)] ? inside : outside) = true;
    return inside && outside;
}

SurrogateEnergy::SurrogateEnergy(SurrogateTerms terms, const vector<vector<int>>& groups, const vector<array<int, 2>>& axes)
        : numAtoms(terms.numAtoms), width((terms.numAtoms + LANES - 1) / LANES * LANES), unknown(std::move(terms.unknown)), spheres(std::move(terms.spheres)),
          hasCurve(terms.hasCurve), hasNeck(terms.hasNeck), polarity(terms.polarity), surfaceEnergy(terms.surfaceEnergy) {
    vector<bool> matters(terms.torsions.size(), false);
    for (size_t k = 0; k < groups.size(); k++) {
        vector<bool> turns(static_cast<size_t>(numAtoms), false);
        for (int atom : groups[k])
            turns[static_cast<size_t>(atom)] = true;
        for (size_t i = 0; i < matters.size(); i++)
            matters[i] = matters[i] || changes(terms.torsions[i].atoms, turns, axes[k]);
    }
    for (size_t i = 0; i < matters.size(); i++)
        if (matters[i])
            torsions.push_back(terms.torsions[i]);
    x.resize(static_cast<size_t>(width));
    for (size_t i = 0; i < x.size(); i++)
        x[i] = FAR * static_cast<float>(i + 1);
    y = z = x;
    if (terms.hasPairs)
        fillPairs(terms);
    if (!spheres.empty())
        fillSpheres(terms);
}

const vector<string>& SurrogateEnergy::getUnknownForces() const {
    return unknown;
}

unique_ptr<SurrogateEnergy> makeSurrogate(const System& system, const TorsionParameters& parameters, int groups) {
    for (const vector<int>* atoms : {&parameters.torsionAtoms, &parameters.groupAtoms})
        for (int atom : *atoms)
            if (atom < 0 || atom >= system.getNumParticles())
                throw OpenMMException("SurrogateEnergy: the torsions name particle " + to_string(atom) + ", but the System has " +
                                      to_string(system.getNumParticles()) + ", numbered from 0; find them in the Topology of this System");
    vector<vector<int>> turned;
    vector<array<int, 2>> axes;
    auto next = parameters.groupAtoms.begin();
    for (size_t k = 0; k < parameters.groupSizes.size(); k++) {
        turned.emplace_back(next, next + parameters.groupSizes[k]);
        next += parameters.groupSizes[k];
        axes.push_back({parameters.torsionAtoms[4 * k + 1], parameters.torsionAtoms[4 * k + 2]});
    }
    return make_unique<SurrogateEnergy>(SurrogateTerms(system, groups), turned, axes);
}

void SurrogateEnergy::fillPairs(const SurrogateTerms& terms) {
    const size_t size = static_cast<size_t>(numAtoms) * static_cast<size_t>(width);
    coulomb.assign(size, 0);
    repulsion = attraction = coulomb;
    size_t k = 0;
    for (int i = 0; i < numAtoms; i++)
        for (int j = i + 1; j < numAtoms; j++, k++) {
            const size_t at = static_cast<size_t>(i) * static_cast<size_t>(width) + static_cast<size_t>(j);
            const double c6 = 4 * terms.epsilon[k] * pow(terms.sigma[k], 6);
            coulomb[at] = static_cast<float>(COULOMB * terms.chargeProduct[k]);
            attraction[at] = static_cast<float>(c6);
            repulsion[at] = static_cast<float>(c6 * pow(terms.sigma[k], 6));
        }
}

void SurrogateEnergy::fillSpheres(const SurrogateTerms& terms) {
    const size_t size = static_cast<size_t>(numAtoms) * static_cast<size_t>(width);
    born.assign(size, 0);
    others = born;
    if (hasNeck)
        neckHeight = neckPlace = born;
    radii.assign(static_cast<size_t>(width), 0);
    scaledRadii = radii;
    effective.assign(static_cast<size_t>(width), 1);
    for (int i = 0; i < numAtoms; i++) {
        const SurrogateTerms::Sphere& sphere = spheres[static_cast<size_t>(i)];
        radii[static_cast<size_t>(i)] = static_cast<float>(sphere.radius);
        scaledRadii[static_cast<size_t>(i)] = static_cast<float>(sphere.scaledRadius);
        for (int j = 0; j < numAtoms; j++) {
            const SurrogateTerms::Sphere& other = spheres[static_cast<size_t>(j)];
            const size_t at = static_cast<size_t>(i) * static_cast<size_t>(width) + static_cast<size_t>(j);
            others[at] = i == j ? 0.0f : 1.0f;
            if (j > i)
                born[at] = static_cast<float>(-COULOMB * polarity * sphere.charge * other.charge);
            if (hasNeck && i != j) {
                const size_t type = static_cast<size_t>(sphere.type * terms.numTypes + other.type);
                neckHeight[at] = static_cast<float>(terms.neckScale * terms.neckHeight[type]);
                neckPlace[at] = static_cast<float>(terms.neckPlace[type]);
            }
        }
    }
}

double SurrogateEnergy::torsionEnergy(const vector<Vec3>& positions) const {
    double energy = 0;
    for (const SurrogateTerms::Torsion& torsion : torsions) {
        const auto at = [&](int k) -> const Vec3& { return positions[static_cast<size_t>(torsion.atoms[static_cast<size_t>(k)])]; };
        const Vec3 axis = at(2) - at(1), normal1 = (at(1) - at(0)).cross(axis), normal2 = axis.cross(at(3) - at(2));
        const double u = normal1.dot(normal2), v = normal1.cross(normal2).dot(axis) / sqrt(axis.dot(axis)), length = sqrt(u * u + v * v);
        if (!(length > 0))
            continue;

        // Powers of c + i s are the cosines and sines of the multiples.

        const double c = u / length, s = v / length;
        double cosine = 1, sine = 0;
        for (size_t n = 0; n < torsion.cosines.size(); n++) {
            const double next = cosine * c - sine * s;
            sine = cosine * s + sine * c;
            cosine = next;
            energy += torsion.cosines[n] * cosine + torsion.sines[n] * sine;
        }
    }
    return energy;
}

double SurrogateEnergy::evaluate(const vector<Vec3>& positions) {
    if (positions.size() != static_cast<size_t>(numAtoms))
        throw OpenMMException("SurrogateEnergy: there are " + to_string(positions.size()) + " positions, but the System has " +
                              to_string(numAtoms) + " particles");
    for (size_t i = 0; i < static_cast<size_t>(numAtoms); i++) {
        const Vec3 p = positions[i] - positions[0];
        x[i] = static_cast<float>(p[0]);
        y[i] = static_cast<float>(p[1]);
        z[i] = static_cast<float>(p[2]);
    }
    double energy = torsionEnergy(positions);
    const size_t stride = static_cast<size_t>(width);
    for (int i = 0; i < static_cast<int>(spheres.size()); i++) {
        const SurrogateTerms::Sphere& sphere = spheres[static_cast<size_t>(i)];
        const size_t at = static_cast<size_t>(i) * stride;
        double integral = integrate(width, x.data(), y.data(), z.data(), i, static_cast<float>(sphere.offsetRadius), scaledRadii.data(), &others[at]);
        if (hasNeck)
            integral += integrateNecks(width, x.data(), y.data(), z.data(), i, static_cast<float>(sphere.radius + NECK_REACH), radii.data(),
                                       &neckHeight[at], &neckPlace[at]);
        const double psi = integral * sphere.offsetRadius;
        const double correction =
                hasCurve ? tanh(psi * (sphere.curve[0] - psi * (sphere.curve[1] - psi * sphere.curve[2]))) / sphere.radius : integral;
        const double radius = 1 / (1 / sphere.offsetRadius - correction);
        effective[static_cast<size_t>(i)] = static_cast<float>(radius);
        energy -= 0.5 * COULOMB * polarity * sphere.charge * sphere.charge / radius;
        const double reach = sphere.radius + PROBE_RADIUS, exposed = (sphere.radius / radius) * (sphere.radius / radius);
        energy += surfaceEnergy * reach * reach * exposed * exposed * exposed;
    }
    for (int i = 0; i < numAtoms; i++) {
        const size_t at = static_cast<size_t>(i) * stride;
        const int first = i / LANES * LANES;
        if (!coulomb.empty())
            energy += sumPairs(first, width, x.data(), y.data(), z.data(), i, &coulomb[at], &repulsion[at], &attraction[at]);
        if (!born.empty())
            energy += sumBorn(first, width, x.data(), y.data(), z.data(), i, effective.data(), &born[at]);
    }
    return energy;
}

} // namespace AtmosPlugin
