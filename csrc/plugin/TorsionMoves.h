#ifndef ATMOS_TORSIONMOVES_H_
#define ATMOS_TORSIONMOVES_H_

#include "TorsionDensity.h"
#include "openmm/System.h"
#include "openmm/Vec3.h"
#include <string>
#include <vector>

namespace AtmosPlugin {

/** The kinds of moves, in the order in which shares and counts are listed. */
enum class MoveKind { All, Residue, Neighbours, Backbone, Sidechain, Torsion, Small };

/** The number of values of MoveKind. */
constexpr int NUM_MOVE_KINDS = 7;

/** Get the name of a kind: "all", "residue", ... */
const std::string& moveKindName(MoveKind kind);

/**
 * Torsional moves: which torsions are drawn anew, from which density, and where that puts the particles.
 * docs/architecture.md, "Exact jumps", defines the kinds.
 */
class TorsionMoves {
public:
    /** A proposed change of torsions. */
    struct Move {
        MoveKind kind = MoveKind::All;
        /** All torsions after the move (in radians). */
        std::vector<double> torsions;
        /** The torsions that are drawn anew, in increasing order. */
        std::vector<int> changed;
        /** log q(old | from new) - log q(new | from old). */
        double logRatio = 0;
    };

    /**
     * Prepare the moves.
     *
     * @param parameters   torsions and density; validated here
     * @param shares       how often each kind is tried, relative to the others; empty for the defaults
     * @param smallWidth   the standard deviation of the kind "small" (in radians)
     * @throws OpenMMException if no kind with a share has anything to move
     */
    TorsionMoves(const TorsionParameters& parameters, const std::vector<double>& shares, double smallWidth);
    /**
     * Check that the moves fit a System: groups of particles with mass, no virtual sites among them, and no
     * constraint whose length, or whose weight in the distribution, would change.
     *
     * @throws OpenMMException that says which torsion does not fit
     */
    void checkSystem(const OpenMM::System& system) const;
    /** Measure all torsions (in radians, in (-pi, pi]). */
    std::vector<double> measure(const std::vector<OpenMM::Vec3>& positions) const;
    /**
     * Propose a move.
     *
     * @param torsions   all torsions as they are
     * @param draws      the random numbers of the move
     */
    Move propose(const std::vector<double>& torsions, Noise::Draws& draws);
    /**
     * Turn the groups of the changed torsions.
     *
     * @param positions   all positions (in nm), changed in place
     * @param torsions    the torsions as they are
     * @param move        a move proposed from them
     */
    void apply(std::vector<OpenMM::Vec3>& positions, const std::vector<double>& torsions, const Move& move) const;
    /** Get the positions (in nm) of what a move turns, in the order in which it turns them. */
    std::vector<OpenMM::Vec3> getTurned(const std::vector<OpenMM::Vec3>& positions, const Move& move) const;
    /** Put back what a move has turned, to what getTurned() gave before. */
    void putBack(std::vector<OpenMM::Vec3>& positions, const Move& move, const std::vector<OpenMM::Vec3>& before) const;
    /** Get the shares in use when none are set: with more than 4 blocks, all of them at once is left out. */
    static std::vector<double> getDefaultShares(size_t numBlocks);

private:
    void drawInTurn(Move& move, const std::vector<double>& torsions, const std::vector<int>& blocks, Noise::Draws& draws);
    void drawGiven(Move& move, const std::vector<double>& torsions, int block, const std::vector<int>& free, Noise::Draws& draws);
    std::vector<int> torsionsOf(int block, bool backbone) const;
    TorsionParameters parameters;
    TorsionDensity density;
    double smallWidth;
    std::vector<std::vector<int>> groups;
    // The block of each torsion, and where the moves of each kind apply.
    std::vector<int> blockOf, linked, mixed;
    std::vector<double> cumulativeShares;
};

} // namespace AtmosPlugin

#endif // ATMOS_TORSIONMOVES_H_
