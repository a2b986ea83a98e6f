#ifndef ATMOS_RUNSTATE_H_
#define ATMOS_RUNSTATE_H_

#include "EnergyWindows.h"
#include "Proposal.h"
#include "TorsionMoves.h"
#include "openmm/Vec3.h"
#include "openmm/serialization/SerializationNode.h"
#include <array>
#include <cstdint>
#include <iosfwd>
#include <vector>

namespace AtmosPlugin {

/**
 * Everything about the jumps that changes while a simulation runs.  It is what checkpoints and State
 * XML hold, and what a failed jump puts back.
 */
struct RunState {
    /** MD steps since the last due jump. */
    long long stepsSinceJump = 0;
    /** Proposals by outcome; Reason::Accepted is one of them. */
    std::array<long long, NUM_REASONS> outcomes = {};
    /** The sum of the lags of the accepted jumps (in ps). */
    double learnedTime = 0;
    /** The seed in use; 0 before a Context exists. */
    std::uint64_t seed = 0;
    /** The module's state; empty means no history. */
    std::vector<float> hidden;
    /** The energies that the dynamics had when jumps were due. */
    EnergyWindows energies;
    /** Torsional moves by kind. */
    std::array<long long, NUM_MOVE_KINDS> movesProposed = {}, movesAccepted = {};
    /** How many times moves were due. */
    long long jumps = 0;
    /** The trajectories that were judged, and those of them that were accepted. */
    long long trajectoriesProposed = 0, trajectoriesAccepted = 0;
    /** Where the present trajectory began; without positions there is none. */
    std::vector<OpenMM::Vec3> startPositions, startVelocities;
    /** The total energy there (in kJ/mol). */
    double startEnergy = 0;

    /** Whether a trajectory has begun that has not been judged. */
    bool isInTrajectory() const { return !startPositions.empty(); }
    /** Forget where the present trajectory began. */
    void forgetTrajectory();
    /** How many jumps have been proposed. */
    long long numProposed() const;

    /** Write the state to a checkpoint. */
    void write(std::ostream& stream) const;
    /** Read what write() wrote; anything else throws an OpenMMException and changes nothing. */
    void read(std::istream& stream);
    /** Write the state to the parameters of a State. */
    void write(OpenMM::SerializationNode& node) const;
    /** Read what write() wrote; anything else throws an OpenMMException and changes nothing. */
    void read(const OpenMM::SerializationNode& node);
};

} // namespace AtmosPlugin

#endif // ATMOS_RUNSTATE_H_
