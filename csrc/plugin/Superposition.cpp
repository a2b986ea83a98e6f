#include "Superposition.h"

#include <cmath>

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

Vec3 centroid(const vector<Vec3>& points) {
    Vec3 sum;
    for (const Vec3& point : points)
        sum += point;
    return sum / static_cast<double>(points.size());
}

/**
 * Find the eigenvector of the largest eigenvalue of a symmetric 4x4 matrix, which is destroyed.
 */
static void largestEigenvector(double a[4][4], double vector[4]) {
    double v[4][4] = {{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}};
    for (int sweep = 0; sweep < 64; sweep++) {
        double diagonal = 0, offDiagonal = 0;
        for (int i = 0; i < 4; i++) {
            diagonal += a[i][i] * a[i][i];
            for (int j = i + 1; j < 4; j++)
                offDiagonal += a[i][j] * a[i][j];
        }
        if (offDiagonal <= 1e-34 * diagonal)
            break;
        for (int p = 0; p < 3; p++)
            for (int q = p + 1; q < 4; q++) {
                if (a[p][q] == 0)
                    continue;

                // The Jacobi rotation that makes a[p][q] vanish.

                const double theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
                const double t = (theta >= 0 ? 1.0 : -1.0) / (fabs(theta) + sqrt(theta * theta + 1));
                const double c = 1 / sqrt(t * t + 1);
                const double s = t * c;
                for (int k = 0; k < 4; k++) {
                    const double akp = a[k][p], akq = a[k][q];
                    a[k][p] = c * akp - s * akq;
                    a[k][q] = s * akp + c * akq;
                }
                for (int k = 0; k < 4; k++) {
                    const double apk = a[p][k], aqk = a[q][k];
                    a[p][k] = c * apk - s * aqk;
                    a[q][k] = s * apk + c * aqk;
                }
                for (int k = 0; k < 4; k++) {
                    const double vkp = v[k][p], vkq = v[k][q];
                    v[k][p] = c * vkp - s * vkq;
                    v[k][q] = s * vkp + c * vkq;
                }
            }
    }
    int best = 0;
    for (int i = 1; i < 4; i++)
        if (a[i][i] > a[best][best])
            best = i;
    for (int k = 0; k < 4; k++)
        vector[k] = v[k][best];
}

namespace {

/** A rotation about one point, which comes onto another. */
struct Motion {
    Vec3 from, to, rows[3];
    Vec3 operator()(const Vec3& point) const {
        const Vec3 p = point - from;
        return Vec3(rows[0].dot(p), rows[1].dot(p), rows[2].dot(p)) + to;
    }
};

} // namespace

static Motion findMotion(const vector<Vec3>& points, const vector<Vec3>& reference) {
    const Vec3 pointCenter = centroid(points);
    const Vec3 referenceCenter = centroid(reference);

    // Sum the products of the coordinates: s[i][j] = sum over points of point_i * reference_j.

    double s[3][3] = {};
    for (size_t n = 0; n < points.size(); n++) {
        const Vec3 p = points[n] - pointCenter;
        const Vec3 r = reference[n] - referenceCenter;
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++)
                s[i][j] += p[i] * r[j];
    }

    // Build Horn's matrix and find the quaternion.

    double horn[4][4] = {
        {s[0][0] + s[1][1] + s[2][2], s[1][2] - s[2][1], s[2][0] - s[0][2], s[0][1] - s[1][0]},
        {s[1][2] - s[2][1], s[0][0] - s[1][1] - s[2][2], s[0][1] + s[1][0], s[2][0] + s[0][2]},
        {s[2][0] - s[0][2], s[0][1] + s[1][0], -s[0][0] + s[1][1] - s[2][2], s[1][2] + s[2][1]},
        {s[0][1] - s[1][0], s[2][0] + s[0][2], s[1][2] + s[2][1], -s[0][0] - s[1][1] + s[2][2]}};
    double q[4];
    largestEigenvector(horn, q);
    const double norm = sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
    const double w = q[0] / norm, x = q[1] / norm, y = q[2] / norm, z = q[3] / norm;

    // The rotation matrix of the quaternion.

    return {pointCenter, referenceCenter,
            {Vec3(w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)),
             Vec3(2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)),
             Vec3(2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z)}};
}

static vector<Vec3> movedBy(const Motion& motion, const vector<Vec3>& points) {
    vector<Vec3> moved(points.size());
    for (size_t n = 0; n < points.size(); n++)
        moved[n] = motion(points[n]);
    return moved;
}

vector<Vec3> superpose(const vector<Vec3>& points, const vector<Vec3>& reference) {
    return movedBy(findMotion(points, reference), points);
}

vector<Vec3> superpose(const vector<Vec3>& points, const vector<Vec3>& reference, const vector<int>& fit) {
    vector<Vec3> chosen, goal;
    for (int index : fit) {
        chosen.push_back(points[index]);
        goal.push_back(reference[index]);
    }
    return movedBy(findMotion(chosen, goal), points);
}

} // namespace AtmosPlugin
