#include "TorsionMoves.h"

#include "openmm/OpenMMException.h"
#include <algorithm>
#include <cmath>
#include <numeric>
#include <sstream>

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

// Molecules with more blocks than this are not drawn as a whole by default: it is hardly ever accepted.
static const size_t MAX_BLOCKS_AT_ONCE = 4;

const string& moveKindName(MoveKind kind) {
    static const string names[NUM_MOVE_KINDS] = {"all", "residue", "neighbours", "backbone", "sidechain", "torsion", "small"};
    return names[static_cast<int>(kind)];
}

vector<double> TorsionMoves::getDefaultShares(size_t numBlocks) {
    return {numBlocks > MAX_BLOCKS_AT_ONCE ? 0.0 : 1.0, 2, 1, 2, 2, 2, 0};
}

/** The parameters, checked before anything is built of them. */
static const TorsionParameters& validated(const TorsionParameters& parameters) {
    parameters.validate();
    return parameters;
}

TorsionMoves::TorsionMoves(const TorsionParameters& torsionParameters, const vector<double>& shares, double smallWidth)
        : parameters(validated(torsionParameters)), density(parameters), smallWidth(smallWidth) {
    auto next = parameters.groupAtoms.begin();
    for (int size : parameters.groupSizes) {
        groups.emplace_back(next, next + size);
        next += size;
    }
    const int numBlocks = static_cast<int>(parameters.blockSizes.size());
    for (int block = 0; block < numBlocks; block++) {
        blockOf.insert(blockOf.end(), static_cast<size_t>(parameters.blockSizes[block]), block);
        if (parameters.blockPrevious[block] >= 0)
            linked.push_back(block);
        if (!torsionsOf(block, true).empty() && !torsionsOf(block, false).empty())
            mixed.push_back(block);
    }

    // A kind without a target is never tried.

    vector<double> used = shares.empty() ? getDefaultShares(static_cast<size_t>(numBlocks)) : shares;
    if (linked.empty())
        used[static_cast<int>(MoveKind::Neighbours)] = 0;
    if (mixed.empty())
        used[static_cast<int>(MoveKind::Backbone)] = used[static_cast<int>(MoveKind::Sidechain)] = 0;
    double sum = 0;
    for (double share : used)
        cumulativeShares.push_back(sum += share);
    if (!(sum > 0))
        throw OpenMMException("AtmosIntegrator: no kind of move that has a share has anything to move in this molecule; give a share to "
                              "'residue' or 'torsion'");
}

vector<int> TorsionMoves::torsionsOf(int block, bool backbone) const {
    vector<int> result;
    for (int j = 0; j < parameters.blockSizes[block]; j++)
        if ((parameters.torsionBackbone[density.getStart(block) + j] != 0) == backbone)
            result.push_back(j);
    return result;
}

void TorsionMoves::checkSystem(const System& system) const {
    const int numParticles = system.getNumParticles();
    const auto refuse = [](size_t torsion, const stringstream& what) {
        throw OpenMMException("AtmosIntegrator: torsion " + to_string(torsion) + " of the moves " + what.str());
    };
    for (size_t i = 0; i < parameters.torsionAtoms.size(); i++)
        if (parameters.torsionAtoms[i] < 0 || parameters.torsionAtoms[i] >= numParticles) {
            stringstream what;
            what << "names particle " << parameters.torsionAtoms[i] << ", but the System has " << numParticles << " particles, numbered from 0";
            refuse(i / 4, what);
        }
    vector<vector<int>> partners(numParticles);
    for (int i = 0; i < system.getNumConstraints(); i++) {
        int first, second;
        double distance;
        system.getConstraintParameters(i, first, second, distance);
        partners[first].push_back(second);
        partners[second].push_back(first);
    }
    vector<bool> turns(numParticles, false);
    for (size_t k = 0; k < groups.size(); k++) {
        const int b = parameters.torsionAtoms[4 * k + 1], c = parameters.torsionAtoms[4 * k + 2];
        for (int atom : groups[k]) {
            stringstream what;
            if (atom < 0 || atom >= numParticles)
                what << "turns particle " << atom << ", but the System has " << numParticles << " particles, numbered from 0";
            else if (system.isVirtualSite(atom))
                what << "turns particle " << atom << ", which is a virtual site: it follows the particles that it is made of, so leave it out";
            else if (system.getParticleMass(atom) == 0)
                what << "turns particle " << atom << ", which has no mass: such particles are held in place, so leave this torsion out";
            else {
                turns[atom] = true;
                continue;
            }
            refuse(k, what);
        }

        // A constraint must keep its length, and the angle between two of them that share a particle.

        for (int atom : groups[k])
            for (int end : partners[atom]) {
                stringstream what;
                if (!turns[end] && end != b && end != c)
                    what << "would change the constraint between particles " << atom << " and " << end << "; leave this torsion out";
                else if (!turns[end])
                    for (int other : partners[end])
                        if (!turns[other] && !(other == b || other == c))
                            what.str("would turn the constraint of particles " + to_string(atom) + " and " + to_string(end) +
                                     " against that of " + to_string(end) + " and " + to_string(other) +
                                     ", which changes their weight in the distribution; leave this torsion out");
                if (!what.str().empty())
                    refuse(k, what);
            }
        for (int atom : groups[k])
            turns[atom] = false;
    }
}

vector<double> TorsionMoves::measure(const vector<Vec3>& positions) const {
    vector<double> torsions;
    for (size_t k = 0; k < groups.size(); k++) {
        const int* atoms = &parameters.torsionAtoms[4 * k];
        const Vec3 axis = positions[atoms[2]] - positions[atoms[1]];
        const Vec3 normal1 = (positions[atoms[1]] - positions[atoms[0]]).cross(axis);
        const Vec3 normal2 = axis.cross(positions[atoms[3]] - positions[atoms[2]]);
        const double length = sqrt(axis.dot(axis));
        torsions.push_back(wrapAngle(atan2(normal1.cross(normal2).dot(axis) / length, normal1.dot(normal2))));
    }
    return torsions;
}

TorsionMoves::Move TorsionMoves::propose(const vector<double>& torsions, Noise::Draws& draws) {
    Move move;
    move.torsions = torsions;
    const double share = draws.uniform() * cumulativeShares.back(), target = draws.uniform();
    int kind = 0;
    while (kind + 1 < NUM_MOVE_KINDS && cumulativeShares[kind] <= share)
        kind++;
    move.kind = static_cast<MoveKind>(kind);
    const auto pick = [target](size_t count) { return min(static_cast<size_t>(target * static_cast<double>(count)), count - 1); };
    switch (move.kind) {
        case MoveKind::All: {
            vector<int> blocks(parameters.blockSizes.size());
            iota(blocks.begin(), blocks.end(), 0);
            drawInTurn(move, torsions, blocks, draws);
            break;
        }
        case MoveKind::Residue: {
            const int block = static_cast<int>(pick(parameters.blockSizes.size()));
            vector<int> free(density.getSize(block));
            iota(free.begin(), free.end(), 0);
            drawGiven(move, torsions, block, free, draws);
            break;
        }
        case MoveKind::Neighbours: {
            const int block = linked[pick(linked.size())];
            drawInTurn(move, torsions, {parameters.blockPrevious[block], block}, draws);
            break;
        }
        case MoveKind::Backbone:
        case MoveKind::Sidechain: {
            const int block = mixed[pick(mixed.size())];
            drawGiven(move, torsions, block, torsionsOf(block, move.kind == MoveKind::Backbone), draws);
            break;
        }
        case MoveKind::Torsion: {
            const int torsion = static_cast<int>(pick(torsions.size())), block = blockOf[torsion];
            drawGiven(move, torsions, block, {torsion - density.getStart(block)}, draws);
            break;
        }
        case MoveKind::Small: {
            const int torsion = static_cast<int>(pick(torsions.size()));
            move.changed = {torsion};
            move.torsions[torsion] = wrapAngle(torsions[torsion] + smallWidth * draws.normal());
            break;
        }
    }
    return move;
}

void TorsionMoves::drawInTurn(Move& move, const vector<double>& torsions, const vector<int>& blocks, Noise::Draws& draws) {
    // Forward: each block sees the new torsions of those before it.

    for (int block : blocks) {
        const int start = density.getStart(block), size = density.getSize(block);
        vector<int> free(size);
        iota(free.begin(), free.end(), 0);
        const vector<double> drawn = density.drawBlock(block, free, move.torsions, draws, TorsionDensity::Gates::Sequential);
        move.logRatio -= density.logBlock(block, drawn.data(), move.torsions, TorsionDensity::Gates::Sequential);
        copy(drawn.begin(), drawn.end(), move.torsions.begin() + start);
        for (int j = 0; j < size; j++)
            move.changed.push_back(start + j);
    }

    // Back: each block sees the old torsions of those before it.

    vector<double> at = move.torsions;
    for (int block : blocks) {
        const int start = density.getStart(block);
        move.logRatio += density.logBlock(block, &torsions[start], at, TorsionDensity::Gates::Sequential);
        copy_n(torsions.begin() + start, density.getSize(block), at.begin() + start);
    }
}

void TorsionMoves::drawGiven(Move& move, const vector<double>& torsions, int block, const vector<int>& free, Noise::Draws& draws) {
    const int start = density.getStart(block);
    const vector<double> drawn = density.drawBlock(block, free, torsions, draws, TorsionDensity::Gates::Conditional);
    copy(drawn.begin(), drawn.end(), move.torsions.begin() + start);
    for (int j : free)
        move.changed.push_back(start + j);

    // What was given has the same density before and after, so that of the whole block will do.

    move.logRatio = density.logBlock(block, &torsions[start], move.torsions, TorsionDensity::Gates::Conditional) -
                    density.logBlock(block, drawn.data(), torsions, TorsionDensity::Gates::Conditional);
}

void TorsionMoves::apply(vector<Vec3>& positions, const vector<double>& torsions, const Move& move) const {
    for (int k : move.changed) {
        const Vec3 origin = positions[parameters.torsionAtoms[4 * k + 2]];
        Vec3 axis = origin - positions[parameters.torsionAtoms[4 * k + 1]];
        axis /= sqrt(axis.dot(axis));
        const double angle = wrapAngle(move.torsions[k] - torsions[k]);
        const double c = cos(angle), s = sin(angle);
        for (int atom : groups[k]) {
            // Rodrigues' formula.

            const Vec3 arm = positions[atom] - origin;
            positions[atom] = origin + arm * c + axis.cross(arm) * s + axis * (axis.dot(arm) * (1 - c));
        }
    }
}

vector<Vec3> TorsionMoves::getTurned(const vector<Vec3>& positions, const Move& move) const {
    vector<Vec3> turned;
    for (int k : move.changed)
        for (int atom : groups[k])
            turned.push_back(positions[atom]);
    return turned;
}

void TorsionMoves::putBack(vector<Vec3>& positions, const Move& move, const vector<Vec3>& before) const {
    auto next = before.begin();
    for (int k : move.changed)
        for (int atom : groups[k])
            positions[atom] = *next++;
}

} // namespace AtmosPlugin
