// Langevin dynamics of 16 copies of one small molecule at once, a copy in each lane of a vector.
//
// Bonds, angles, torsions, all pairs of a NonbondedForce without cutoff and OpenMM's generalised
// Born terms (OBC1, GBn2), with distance constraints, in single precision; OpenMM's units. The scheme
// is OpenMM's LangevinMiddleIntegrator. One step of all copies costs less than one of OpenMM's CPU
// platform, whose overhead dominates at this size. `batched_md.py` compiles, fills and checks it.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {
constexpr int R = 16;
typedef float V __attribute__((vector_size(4 * R)));
typedef int32_t M __attribute__((vector_size(4 * R)));
typedef uint32_t W __attribute__((vector_size(4 * R)));

#define LANEWISE(name, call)                                                                       \
    inline V name(V a) {                                                                           \
        V b;                                                                                       \
        for (int r = 0; r < R; r++)                                                                \
            b[r] = call(a[r]);                                                                     \
        return b;                                                                                  \
    }
LANEWISE(squareRoot, sqrtf)
LANEWISE(exponential, expf)
LANEWISE(logarithm, logf)
LANEWISE(arcCosine, acosf)
LANEWISE(cosine, cosf)
LANEWISE(sine, sinf)

struct Vec {
    V x, y, z;
};
inline Vec operator-(const Vec& a, const Vec& b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
inline Vec operator*(V s, const Vec& a) { return {s * a.x, s * a.y, s * a.z}; }
inline void operator+=(Vec& a, const Vec& b) { a.x += b.x, a.y += b.y, a.z += b.z; }
inline void operator-=(Vec& a, const Vec& b) { a.x -= b.x, a.y -= b.y, a.z -= b.z; }
inline V dot(const Vec& a, const Vec& b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
inline Vec cross(const Vec& a, const Vec& b) {
    return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
const V ZERO = {};
const V ONE = ZERO + 1.0f;
} // namespace

// Arrays are the caller's and stay alive; see batched_md.py for what each holds.
extern "C" struct Molecule {
    int atoms, bonds, angles, torsions, constraints, biases;
    const int *bondAtoms, *angleAtoms, *torsionAtoms, *constraintAtoms, *biasAtoms;
    const float *bondTerms;     // length, k
    const float *angleTerms;    // angle, k
    const float *torsionTerms;  // k cos(phase) for each periodicity 1 to 6
    const float *biasTerms;     // of cos(p phi) and of sin(p phi) for each periodicity
    const float *biasScales;    // [R], the share of the bias that each copy feels
    const float *constraintLengths;
    const float *pairTerms;     // of i < j: charge product, 4 eps sigma^12, 4 eps sigma^6; neck: m0, d0 for i, for j, reach
    const float *atomTerms;     // charge, or, sr, alpha, beta, gamma, radius
    const float *masses;
    float solvation;            // 138.9 (1/solute - 1/solvent)
    float surface;              // kJ/mol/nm^2 of the surface term
};

namespace {
constexpr int PAIR = 8, ATOM = 7, PERIODS = 6;

struct Work {
    std::vector<Vec> force;
    std::vector<V> distance, slope, forward, backward, integral, born, bornSlope, bornForce;
};

// A torsion's series, of cosines and where there are any of sines, scaled in each lane.
V torsion(const int* a, const float* cosines, const float* sines, V scale, const Vec* x, Vec* f) {
    Vec b1 = x[a[1]] - x[a[0]], b2 = x[a[2]] - x[a[1]], b3 = x[a[3]] - x[a[2]];
    Vec u = cross(b1, b2), w = cross(b2, b3);
    V uu = dot(u, u), ww = dot(w, w), bb = dot(b2, b2), b = squareRoot(bb);
    V n = 1.0f / squareRoot(uu * ww);
    V c1 = dot(u, w) * n, s1 = b * dot(b1, w) * n;
    V c = c1, s = s1, slope = ZERO, energy = ZERO;
    for (int p = 0; p < PERIODS; p++) {
        float t = cosines[p], o = sines ? sines[p] : 0.0f;
        energy += (t < 0 ? -t : t) * (sines ? 0.0f : 1.0f) + t * c + o * s;
        slope += float(p + 1) * (o * c - t * s);
        V next = c * c1 - s * s1;
        s = s * c1 + c * s1, c = next;
    }
    slope *= scale;
    Vec gi = (slope * b / uu) * u, gl = (-slope * b / ww) * w; // force on the ends
    V ti = dot(b1, b2) / bb, tl = dot(b3, b2) / bb;
    Vec mid = (ti * gi) - (tl * gl);
    f[a[0]] += gi, f[a[3]] += gl;
    f[a[1]] -= gi, f[a[1]] -= mid;
    f[a[2]] -= gl, f[a[2]] += mid;
    return energy;
}

// The bias, unscaled; its forces are scaled.
V bias(const Molecule& m, const Vec* x, Vec* f) {
    V energy = ZERO, scale;
    memcpy(&scale, m.biasScales, sizeof(V));
    for (int k = 0; k < m.biases; k++) {
        const float* t = m.biasTerms + 2 * PERIODS * k;
        energy += torsion(m.biasAtoms + 4 * k, t, t + PERIODS, scale, x, f);
    }
    return energy;
}

V bonded(const Molecule& m, const Vec* x, Vec* f) {
    V energy = ZERO;
    for (int k = 0; k < m.bonds; k++) {
        int i = m.bondAtoms[2 * k], j = m.bondAtoms[2 * k + 1];
        Vec d = x[i] - x[j];
        V r = squareRoot(dot(d, d)), off = r - m.bondTerms[2 * k];
        energy += 0.5f * m.bondTerms[2 * k + 1] * off * off;
        Vec g = (m.bondTerms[2 * k + 1] * off / r) * d;
        f[i] -= g, f[j] += g;
    }
    for (int k = 0; k < m.angles; k++) {
        const int* a = m.angleAtoms + 3 * k;
        Vec p = x[a[0]] - x[a[1]], q = x[a[2]] - x[a[1]];
        V pp = dot(p, p), qq = dot(q, q), n = 1.0f / squareRoot(pp * qq), c = dot(p, q) * n;
        c = c < 0.999999f ? c : ZERO + 0.999999f;
        c = c > -0.999999f ? c : ZERO - 0.999999f;
        V off = arcCosine(c) - m.angleTerms[2 * k];
        energy += 0.5f * m.angleTerms[2 * k + 1] * off * off;
        V s = -m.angleTerms[2 * k + 1] * off / squareRoot(1.0f - c * c); // dE/dcos
        Vec gp = s * ((n * q) - ((c / pp) * p)), gq = s * ((n * p) - ((c / qq) * q));
        f[a[0]] -= gp, f[a[2]] -= gq;
        f[a[1]] += gp, f[a[1]] += gq;
    }
    for (int k = 0; k < m.torsions; k++)
        energy += torsion(m.torsionAtoms + 4 * k, m.torsionTerms + PERIODS * k, nullptr, ONE, x, f);
    return energy;
}

// The pair integral of a Born radius and its derivative by r.
inline void descreen(V r, V inverse, float orI, float srJ, V& value, V& slope) {
    V upper = r + srJ, d = r - srJ;
    M beyond = d > 0.0f;
    d = beyond ? d : -d;
    M inside = d <= orI;
    V lower = inside ? ZERO + orI : d;
    V lowerSlope = inside ? ZERO : (beyond ? ZERO + 1.0f : ZERO - 1.0f);
    V iu = 1.0f / upper, il = 1.0f / lower, ratio = logarithm(lower * iu);
    V squares = iu * iu - il * il, span = r - srJ * srJ * inverse;
    value = 0.5f * (il - iu + 0.25f * span * squares + 0.5f * ratio * inverse);
    slope = 0.5f * (iu * iu - lowerSlope * il * il + 0.25f * (1.0f + srJ * srJ * inverse * inverse) * squares +
                    0.5f * span * (lowerSlope * il * il * il - iu * iu * iu) +
                    0.5f * (lowerSlope * il - iu) * inverse - 0.5f * ratio * inverse * inverse);
    M touches = upper > orI;
    value = touches ? value : ZERO;
    slope = touches ? slope : ZERO;
}

// GBn2's addition to the integral: the neck between two spheres.
inline void neck(V r, float height, float place, float reach, V& value, V& slope) {
    V o = r - place, o2 = o * o, o5 = o2 * o2 * o, inverse = 1.0f / (1.0f + 100.0f * o2 + 3e5f * o5 * o);
    M near = r < reach;
    value = near ? height * inverse : ZERO;
    slope = -value * inverse * (200.0f * o + 1.8e6f * o5);
}

V pairs(const Molecule& m, const Vec* x, Vec* f, Work& work) {
    const int n = m.atoms;
    V energy = ZERO;
    for (int i = 0; i < n; i++)
        work.integral[i] = work.bornForce[i] = ZERO;
    for (int i = 0, k = 0; i < n; i++)
        for (int j = i + 1; j < n; j++, k++) {
            const float *t = m.pairTerms + PAIR * k, *a = m.atomTerms + ATOM * i, *b = m.atomTerms + ATOM * j;
            Vec d = x[i] - x[j];
            V r = squareRoot(dot(d, d)), inverse = 1.0f / r, value, slope;
            work.distance[k] = r;
            descreen(r, inverse, a[1], b[2], value, slope);
            work.integral[i] += value, work.forward[k] = slope;
            descreen(r, inverse, b[1], a[2], value, slope);
            work.integral[j] += value, work.backward[k] = slope;
            if (t[3] != 0.0f) {
                neck(r, t[3], t[4], t[7], value, slope);
                work.integral[i] += value, work.forward[k] += slope;
                neck(r, t[5], t[6], t[7], value, slope);
                work.integral[j] += value, work.backward[k] += slope;
            }
        }
    for (int i = 0; i < n; i++) {
        const float* a = m.atomTerms + ATOM * i;
        V psi = work.integral[i] * a[1];
        V z = psi * (a[3] - psi * (a[4] - psi * a[5]));
        V th = 1.0f - 2.0f / (exponential(2.0f * z) + 1.0f);
        V born = 1.0f / (1.0f / a[1] - th / a[6]), q = a[6] / born, q6 = q * q * q;
        q6 *= q6;
        work.born[i] = born;
        work.bornSlope[i] =
            born * born / a[6] * (1.0f - th * th) * (a[3] - psi * (2.0f * a[4] - 3.0f * psi * a[5])) * a[1];
        V self = -0.5f * m.solvation * a[0] * a[0] / born;
        V surface = m.surface * (a[6] + 0.14f) * (a[6] + 0.14f) * q6;
        energy += self + surface;
        work.bornForce[i] = (-self - 6.0f * surface) / born;
    }
    for (int i = 0, k = 0; i < n; i++)
        for (int j = i + 1; j < n; j++, k++) {
            const float* t = m.pairTerms + PAIR * k;
            V r = work.distance[k], inverse = 1.0f / r, i2 = inverse * inverse, i6 = i2 * i2 * i2;
            V coulomb = t[0] * inverse, repulsion = t[1] * i6 * i6, attraction = t[2] * i6;
            energy += coulomb + repulsion - attraction;
            V slope = -(coulomb + 12.0f * repulsion - 6.0f * attraction) * inverse;
            V product = work.born[i] * work.born[j], x4 = r * r / (4.0f * product), e = exponential(-x4);
            V inv = 1.0f / squareRoot(r * r + product * e);
            V gb = -m.solvation * m.atomTerms[ATOM * i] * m.atomTerms[ATOM * j] * inv, g = -gb * inv * inv;
            energy += gb;
            work.slope[k] = slope + g * r * (1.0f - 0.25f * e);
            V common = 0.5f * g * e * (1.0f + x4);
            work.bornForce[i] += common * work.born[j];
            work.bornForce[j] += common * work.born[i];
        }
    for (int i = 0; i < n; i++)
        work.bornForce[i] *= work.bornSlope[i];
    for (int i = 0, k = 0; i < n; i++) {
        Vec sum = {};
        for (int j = i + 1; j < n; j++, k++) {
            V slope =
                work.slope[k] + work.bornForce[i] * work.forward[k] + work.bornForce[j] * work.backward[k];
            Vec g = (slope / work.distance[k]) * (x[i] - x[j]);
            sum += g, f[j] += g;
        }
        f[i] -= sum;
    }
    return energy;
}

V forces(const Molecule& m, const Vec* x, Work& work, V& biasEnergy) {
    size_t n = m.atoms, count = n * (n - 1) / 2;
    work.force.assign(n, Vec{});
    for (auto* array : {&work.integral, &work.born, &work.bornSlope, &work.bornForce})
        array->resize(n);
    for (auto* array : {&work.distance, &work.slope, &work.forward, &work.backward})
        array->resize(count);
    biasEnergy = bias(m, x, work.force.data());
    return bonded(m, x, work.force.data()) + pairs(m, x, work.force.data(), work);
}

// Constraints never join two hydrogens and the hydrogens are light: the error falls 20 times a round.
constexpr int ROUNDS = 6;

void constrainPositions(const Molecule& m, const Vec* start, Vec* x) {
    for (int round = 0; round < ROUNDS; round++)
        for (int k = 0; k < m.constraints; k++) {
            int i = m.constraintAtoms[2 * k], j = m.constraintAtoms[2 * k + 1];
            float a = 1.0f / m.masses[i], b = 1.0f / m.masses[j], length = m.constraintLengths[k];
            Vec d = x[i] - x[j], s = start[i] - start[j];
            V g = (dot(d, d) - length * length) / (2.0f * (a + b) * dot(d, s));
            x[i] -= (g * a) * s, x[j] += (g * b) * s;
        }
}

void constrainVelocities(const Molecule& m, const Vec* x, Vec* v) {
    for (int round = 0; round < ROUNDS; round++)
        for (int k = 0; k < m.constraints; k++) {
            int i = m.constraintAtoms[2 * k], j = m.constraintAtoms[2 * k + 1];
            float a = 1.0f / m.masses[i], b = 1.0f / m.masses[j];
            Vec d = x[i] - x[j];
            V g = dot(d, v[i] - v[j]) / ((a + b) * dot(d, d));
            v[i] -= (g * a) * d, v[j] += (g * b) * d;
        }
}

// xoshiro128+, a stream in each lane.
struct Random {
    W s[4];
    V spare;
    bool has = false;
    V uniform() {
        W result = s[0] + s[3], t = s[1] << 9;
        s[2] ^= s[0], s[3] ^= s[1], s[1] ^= s[2], s[0] ^= s[3], s[2] ^= t;
        s[3] = (s[3] << 11) | (s[3] >> 21);
        M bits = (M)(result >> 9);
        return (__builtin_convertvector(bits, V) + 0.5f) * (1.0f / 8388608.0f);
    }
    V normal() {
        if (has) {
            has = false;
            return spare;
        }
        V radius = squareRoot(-2.0f * logarithm(uniform())), angle = 6.28318531f * uniform();
        spare = radius * sine(angle), has = true;
        return radius * cosine(angle);
    }
};
} // namespace

extern "C" {

// Energies [R] without the bias and forces [atoms, 3, R] with it of positions [atoms, 3, R].
void evaluate(const Molecule* m, const float* positions, float* energies, float* out) {
    Work work;
    std::vector<Vec> x(m->atoms);
    memcpy(x.data(), positions, sizeof(Vec) * m->atoms);
    V biased, energy = forces(*m, x.data(), work, biased);
    memcpy(energies, &energy, sizeof(V));
    memcpy(out, work.force.data(), sizeof(Vec) * m->atoms);
}

// Steps of ps at kT [R] and a friction; positions and velocities [atoms, 3, R] and the random state
// [4, R] change in place. Energies, and those of the bias apart and
// unscaled, are those of the positions at the end.
void advance(const Molecule* m, float* positions, float* velocities, uint32_t* state, const float* thermal,
             float step, float friction, int steps, float* energies, float* biasEnergies) {
    const int n = m->atoms;
    Work work;
    Random random;
    std::vector<Vec> x(n), v(n), start(n), free(n);
    V kT, energy, biased;
    memcpy(x.data(), positions, sizeof(Vec) * n);
    memcpy(v.data(), velocities, sizeof(Vec) * n);
    memcpy(random.s, state, sizeof(random.s));
    memcpy(&kT, thermal, sizeof(V));
    const float keep = expf(-friction * step), half = 0.5f * step;
    for (int s = 0; s < steps; s++) {
        forces(*m, x.data(), work, biased);
        for (int i = 0; i < n; i++)
            v[i] += (ZERO + step / m->masses[i]) * work.force[i];
        constrainVelocities(*m, x.data(), v.data());
        for (int i = 0; i < n; i++) {
            V width = squareRoot((1.0f - keep * keep) / m->masses[i] * kT);
            start[i] = x[i];
            x[i] += (ZERO + half) * v[i];
            Vec noise = {random.normal(), random.normal(), random.normal()};
            v[i] = (ZERO + keep) * v[i];
            v[i] += width * noise;
            x[i] += (ZERO + half) * v[i];
        }
        if (m->constraints) {
            free = x;
            constrainPositions(*m, start.data(), x.data());
            for (int i = 0; i < n; i++)
                v[i] += (ZERO + 1.0f / step) * (x[i] - free[i]);
        }
    }
    energy = forces(*m, x.data(), work, biased);
    memcpy(positions, x.data(), sizeof(Vec) * n);
    memcpy(velocities, v.data(), sizeof(Vec) * n);
    memcpy(state, random.s, sizeof(random.s));
    memcpy(energies, &energy, sizeof(V));
    memcpy(biasEnergies, &biased, sizeof(V));
}
}
