#ifndef ATMOS_ATMOSINTEGRATOR_H_
#define ATMOS_ATMOSINTEGRATOR_H_

#include "JumpScreen.h"
#include "Proposal.h"
#include "PropagatorModule.h"
#include "RunState.h"
#include "SurrogateEnergy.h"
#include "TorsionMoves.h"
#include "openmm/LangevinMiddleIntegrator.h"
#include <deque>
#include <memory>
#include <string>
#include <vector>

namespace AtmosPlugin {

struct Binding;

/**
 * A LangevinMiddleIntegrator that alternates its dynamics with jumps of a learned propagator.
 *
 * Every setJumpInterval() steps the positions of some of the particles, the solute, are handed to a
 * bound TorchScript module, which answers with new positions some time ahead.  The new frame is
 * superposed on the old one, screened, written into the Context, brought onto the constraints,
 * relaxed if that was asked for, and its energy is judged.  A frame that passes is kept and new
 * velocities are drawn; otherwise positions and velocities are put back exactly and the proposal is
 * counted under the reason that turned it down.  docs/architecture.md, "One jump", gives the order
 * of the operations.
 *
 * A LangevinMiddleIntegrator's positions and velocities are independent of each other in the middle of
 * its step, not at its end.  So a jump takes the positions back by half a step with the old velocities,
 * happens there, and goes forward by half a step with the new ones.
 *
 * A jump takes place at the start of a step, so that a reporter never sees a frame that has just
 * been generated, and changes neither the step count nor the time of the Context: the time covered
 * by jumps has its own counter, getLearnedTime().  With an interval of 0, which is the default, the
 * integrator is step for step the LangevinMiddleIntegrator that it derives from.
 *
 * With acceptance "metropolis" no module is needed: a jump is a number of torsional moves, drawn from
 * an explicit density and accepted by their energy and the ratio of densities, with the velocities kept,
 * so that the frames are distributed according to Boltzmann (docs/architecture.md, "Exact jumps").  With
 * "filter" or "none" they are not: the energy decides which frames are plausible, and no more.
 *
 * Nothing here depends on the Platform.
 */
class AtmosIntegrator : public OpenMM::LangevinMiddleIntegrator {
public:
    /**
     * Create an AtmosIntegrator that does not jump yet.  Call setModule() and setJumpInterval().
     *
     * @param temperature     the temperature of the heat bath and of the jumps (in Kelvin)
     * @param frictionCoeff   the friction coefficient which couples the system to the heat bath (in inverse picoseconds)
     * @param stepSize        the step size with which to integrate the system (in picoseconds)
     */
    AtmosIntegrator(double temperature, double frictionCoeff, double stepSize);
    ~AtmosIntegrator() override;

    /**
     * Set the module that proposes the jumps.  If a Context exists already, the module is checked
     * against its System at once.
     *
     * @param bytes         the content of a TorchScript archive, see docs/architecture.md, "The bound module"
     * @param atomIndices   the particle that each atom of the module is, in the module's order
     * @throws OpenMMException if the archive cannot be loaded or does not fit; the integrator is then unchanged
     */
    void setModule(const std::string& bytes, const std::vector<int>& atomIndices);
    /** Get the content of the TorchScript archive; empty if no module was set. */
    const std::string& getModule() const;
    /** Get the particle that each atom of the module is, in the module's order. */
    const std::vector<int>& getAtomIndices() const;

    /** Get the number of steps between jumps; 0 means that there are none. */
    int getJumpInterval() const;
    /**
     * Set the number of steps between jumps.  The first jump comes after as many steps.
     *
     * @param steps   the number of steps, or 0 for no jumps
     */
    void setJumpInterval(int steps);
    /** Get the time by which a jump moves ahead (in ps). */
    double getLag() const;
    /**
     * Set the time by which a jump moves ahead.  The module's range is not known here; AtmosPropagator checks it.
     *
     * @param lag   the time (in ps), more than 0
     */
    void setLag(double lag);
    /** Get which frames are accepted: "none", "filter" or "metropolis". */
    const std::string& getAcceptanceMode() const;
    /**
     * Set which frames are accepted.
     *
     * @param mode   "filter" (the default): those whose energy lies in the window learned from this
     *               run's own dynamics.  "none": all that pass the screen and have a finite energy.
     *               "metropolis": torsional moves of setTorsionMoves(), by Metropolis' rule
     */
    void setAcceptanceMode(const std::string& mode);
    /** Get the width of the energy window, in standard deviations above the mean. */
    double getEnergyWindow() const;
    /**
     * Set the width of the energy window.  A frame is inside when its potential energy is at most the
     * mean plus this many standard deviations of the energies that the dynamics had when jumps were due, at
     * the same temperature, Context parameters and force groups.
     *
     * @param width   the width (in standard deviations), more than 0
     */
    void setEnergyWindow(double width);
    /** Get how many energies the filter collects before the first proposal. */
    int getWindowSamples() const;
    /**
     * Set how many energies the filter collects before the first proposal.  It has no effect in mode "none".
     *
     * @param samples   the number of energies, at least 2
     */
    void setWindowSamples(int samples);
    /** Get the numbers of minimiser iterations of the relaxation stages; empty when there are none. */
    const std::vector<int>& getRelaxationStages() const;
    /**
     * Set the relaxation stages.  With the filter, a stage is applied only while the energy is above the window;
     * in mode "none" all of them are.
     *
     * @param iterations   for each stage the largest number of iterations of the local energy minimiser, at least 1
     */
    void setRelaxationStages(const std::vector<int>& iterations);
    /** Get the force at which the minimiser stops (in kJ/mol/nm). */
    double getRelaxationTolerance() const;
    /**
     * Set the force at which the minimiser of the relaxation stages stops.
     *
     * @param tolerance   the root mean square force (in kJ/mol/nm), more than 0
     */
    void setRelaxationTolerance(double tolerance);
    /** Get the seed of the jumps as it was set; 0 means that a Context draws one. */
    long long getJumpSeed() const;
    /**
     * Set the seed of the jumps: of the module's noise and of the redrawn velocities.  The dynamics has its
     * own, see setRandomNumberSeed().  It takes effect when a Context is created or reinitialized.
     *
     * @param seed   the seed, or 0 (the default) to have each Context draw its own
     */
    void setJumpSeed(long long seed);
    /** Get the seed that the jumps use, drawn or set; 0 before a Context exists. */
    long long getCurrentJumpSeed() const;
    /** Get how many threads torch uses inside a jump; 0 means as many as it is set to. */
    int getTorchThreads() const;
    /**
     * Set how many threads torch uses inside a jump.  The setting of the rest of the process is restored after
     * each.
     *
     * @param threads   the number, 1 by default, which is fastest for small models; 0 to leave torch's own setting
     */
    void setTorchThreads(int threads);
    /** Get what new frames are compared with. */
    const ScreenParameters& getScreen() const;
    /**
     * Set what new frames are compared with.
     *
     * @param screen   lists and thresholds; an empty list switches its check off
     */
    void setScreen(const ScreenParameters& screen);
    /** Get whether turned-down jumps are undone with a checkpoint of the Context: "auto", "always" or "never". */
    const std::string& getCheckpointRestore() const;
    /**
     * Set whether turned-down jumps are undone with a checkpoint of the Context instead of by setting positions
     * and velocities.  The Reference and CPU platforms hold both in double precision, so setting them is exact and
     * cheap.  Others round positions when they are set.
     *
     * @param mode   "auto" (the default): on all platforms but Reference and CPU; "always"; "never"
     */
    void setCheckpointRestore(const std::string& mode);

    /**
     * Set the torsions that exact jumps move, and their density.  If a Context exists already, they are checked
     * against its System at once.
     *
     * @param parameters   torsions and density
     * @throws OpenMMException if they do not fit; the integrator is then unchanged
     */
    void setTorsionMoves(const TorsionParameters& parameters);
    /** Get the torsions that exact jumps move, and their density; without torsions if none were set. */
    const TorsionParameters& getTorsionMoves() const;
    /** Get how many torsional moves an exact jump tries. */
    int getMovesPerJump() const;
    /**
     * Set how many torsional moves an exact jump tries.
     *
     * @param moves   the number, 10 by default; 0 for none
     */
    void setMovesPerJump(int moves);
    /** Get how many trials a torsional move is made of. */
    int getTrialsPerMove() const;
    /**
     * Set how many trials a torsional move is made of.  With more than 1, a move is a series of trials that are tested
     * with a surrogate of the energy, which is fast, and the end of the series is tested with the energy itself and the
     * surrogate's ratio: averages are exact for any surrogate.  It knows pairs, torsions and generalised Born models;
     * what else a System holds makes series be accepted less often.
     *
     * @param trials   the number, 1 by default: each move is tested with the energy itself
     */
    void setTrialsPerMove(int trials);
    /** Get how often each kind of move is tried, in the order of getMoveKinds(); empty for the defaults. */
    const std::vector<double>& getMoveShares() const;
    /**
     * Set how often each kind of move is tried, relative to the others.
     *
     * @param shares   one number of 0 or more for each of getMoveKinds(), or an empty list for the defaults
     */
    void setMoveShares(const std::vector<double>& shares);
    /** Get the standard deviation of moves of the kind "small" (in radians). */
    double getSmallMoveWidth() const;
    /**
     * Set the standard deviation of moves of the kind "small".
     *
     * @param width   the angle (in radians), more than 0; 0.35 by default
     */
    void setSmallMoveWidth(double width);
    /** Get the dynamics between exact jumps: "langevin" or "hmc". */
    const std::string& getDynamics() const;
    /**
     * Set the dynamics between exact jumps.
     *
     * @param dynamics   "langevin" (the default): the steps of a LangevinMiddleIntegrator.  "hmc": from one jump to
     *                   the next a trajectory without friction from new velocities, undone at its end unless its
     *                   error of the total energy is accepted.  Frames at multiples of the jump interval count
     */
    void setDynamics(const std::string& dynamics);
    /** Get the names of the kinds of moves. */
    static std::vector<std::string> getMoveKinds();
    /**
     * Get how many moves of a kind have been proposed.
     *
     * @param kind   one of getMoveKinds()
     */
    long long getNumMovesProposed(const std::string& kind) const;
    /**
     * Get how many moves of a kind have been accepted.
     *
     * @param kind   one of getMoveKinds()
     */
    long long getNumMovesAccepted(const std::string& kind) const;
    /** Get how many times exact jumps were due. */
    long long getNumJumps() const;
    /** Get how many trajectories of the dynamics "hmc" have been judged. */
    long long getNumTrajectoriesProposed() const;
    /** Get how many trajectories of the dynamics "hmc" have been accepted. */
    long long getNumTrajectoriesAccepted() const;

    /** Get how many jumps, or moves of exact jumps, have been proposed. */
    long long getNumProposed() const;
    /** Get how many jumps have been accepted. */
    long long getNumAccepted() const;
    /** Get how many jumps have been turned down. */
    long long getNumRejected() const;
    /**
     * Get how many jumps have been turned down for one reason.
     *
     * @param reason   one of getReasonNames() but "accepted"
     */
    long long getNumRejected(const std::string& reason) const;
    /** Get the names of the outcomes in the order in which they are tested; the first is "accepted". */
    static std::vector<std::string> getReasonNames();
    /** Get the time covered by accepted jumps (in ps). */
    double getLearnedTime() const;
    /** Get the number of steps since a jump was last due. */
    long long getStepsSinceJump() const;
    /** Get the module's state; empty means no history. */
    std::vector<double> getHiddenState() const;
    /**
     * Set the module's state.  It belongs to the frame that the Context holds: after setting positions that have
     * nothing to do with those before, clear it.
     *
     * @param state   as many numbers as the module's state has (they are rounded to single precision), or
     *                an empty list for no history
     */
    void setHiddenState(const std::vector<double>& state);
    /** Get how many energies of the dynamics are known at the present temperature, Context parameters and force groups. */
    long long getNumWindowSamples() const;
    /** Get the mean of these energies (in kJ/mol). */
    double getWindowMean() const;
    /** Get the sample standard deviation of these energies (in kJ/mol). */
    double getWindowStandardDeviation() const;
    /**
     * Set what is known of the energies of the dynamics at the present temperature and parameters, for instance from an
     * earlier run.  Before a Context exists it is taken for that of the first ones.
     *
     * @param samples             the number of energies
     * @param mean                their mean (in kJ/mol)
     * @param standardDeviation   their sample standard deviation (in kJ/mol)
     */
    void setWindowStatistics(long long samples, double mean, double standardDeviation);

    /**
     * Get the most recent proposal, with its positions.
     *
     * @throws OpenMMException if none has been made since the integrator was created, or if the moves of exact
     *         jumps are made, which are too many to keep
     */
    const Proposal& getLastProposal() const;
    /**
     * Get the proposals made since the last call, oldest first, and forget them.  At most
     * getProposalCapacity() are kept; getNumDroppedProposals() tells whether some were lost.
     */
    std::vector<Proposal> takeProposals();
    /** Get how many proposals are kept for takeProposals(). */
    int getProposalCapacity() const;
    /** Get whether proposals are kept with their positions. */
    bool getKeepProposalPositions() const;
    /**
     * Set what is kept for takeProposals().
     *
     * @param capacity        how many proposals; the oldest are dropped first
     * @param keepPositions   whether to keep positions, which for large molecules takes much memory
     */
    void setProposalRecording(int capacity, bool keepPositions);
    /** Get how many proposals were dropped because takeProposals() was not called in time. */
    long long getNumDroppedProposals() const;

    /**
     * Advance a simulation through time by taking a series of time steps, with the jumps that are due.
     *
     * @param steps   the number of time steps to take
     * @throws OpenMMException if the module raises or returns something of a wrong shape.  The Context and the
     *         integrator are then as they were before that jump, which is still due
     */
    void step(int steps) override;

protected:
    void initialize(OpenMM::ContextImpl& context) override;
    void createCheckpoint(std::ostream& stream) const override;
    void loadCheckpoint(std::istream& stream) override;
    void serializeParameters(OpenMM::SerializationNode& node) const override;
    void deserializeParameters(const OpenMM::SerializationNode& node) override;
    void stateChanged(OpenMM::State::DataType changed) override;

private:
    struct Snapshot;
    std::unique_ptr<TorsionMoves> makeMoves(const TorsionParameters& parameters, const std::vector<double>& shares, double width) const;
    void checkReady(const Binding& binding) const;
    double checkedEnergy();
    double energyOf(const std::vector<OpenMM::Vec3>& positions);
    bool moveTorsions(std::vector<OpenMM::Vec3>& positions, double energy);
    bool moveByModule(std::vector<OpenMM::Vec3>& positions, double energy);
    bool moveInSeries(std::vector<OpenMM::Vec3>& positions, double energy);
    bool tryTorsions(std::vector<OpenMM::Vec3>& positions, std::vector<double>& torsions, double& surrogateEnergy);
    void exactJump(const Snapshot& snapshot);
    using Points = std::vector<OpenMM::Vec3>;
    Points carryVelocities(const Points& from, const Points& to, Points velocities, long long attempt);
    Points constrainedVelocities(const Points& positions, const Points& velocities);
    void beginTrajectory(const Snapshot& snapshot);
    void endTrajectory();
    std::vector<OpenMM::Vec3> kick(const std::vector<OpenMM::Vec3>& velocities, double time);
    double kineticEnergy(const std::vector<OpenMM::Vec3>& velocities) const;
    void takeSteps(int steps);
    double thermalEnergy() const;
    void performJump();
    void jumpFromMiddle(const Snapshot& snapshot);
    Points moveToMiddle(const Snapshot& snapshot);
    void finishStep(Points positions, const Points& velocities);
    void setConstrained(const std::vector<OpenMM::Vec3>& positions);
    void proposeJump(const Snapshot& snapshot, const std::vector<OpenMM::Vec3>& middle, double energyBefore);
    PropagatorModule::Result callModule(const std::vector<OpenMM::Vec3>& solute, long long attempt);
    Reason judgeFrame(const Points& middle, const Points& oldSolute, const PropagatorModule::Result& result, Proposal& proposal);
    Reason judgeEnergy(const std::vector<OpenMM::Vec3>& oldSolute, Proposal& proposal);
    bool constraintsAreNear(const std::vector<OpenMM::Vec3>& positions, double tolerance) const;
    double potentialEnergy();
    bool haveFiniteForces();
    double energyLimit() const;
    EnergyConditions energyConditions() const;
    std::vector<OpenMM::Vec3> thermalVelocities(long long attempt) const;
    std::vector<OpenMM::Vec3> drawVelocities(long long attempt);
    void restore(const Snapshot& snapshot);
    void record(const Proposal& proposal);
    std::vector<OpenMM::Vec3> selectSolute(const std::vector<OpenMM::Vec3>& positions) const;

    std::vector<int> atomIndices;
    std::shared_ptr<const PropagatorModule> module;
    std::unique_ptr<Binding> binding;
    ScreenParameters screen;
    int jumpInterval = 0, windowSamples = 20, torchThreads = 1;
    double lag = 100, energyWindow = 6, relaxationTolerance = 10;
    std::string acceptanceMode = "filter", checkpointRestore = "auto";
    std::vector<int> relaxationStages;
    long long jumpSeed = 0;
    TorsionParameters torsionParameters;
    std::unique_ptr<TorsionMoves> moves;
    std::unique_ptr<SurrogateEnergy> surrogate;
    int movesPerJump = 10, trialsPerMove = 1;
    std::vector<double> moveShares;
    double smallMoveWidth = 0.35;
    std::string dynamics = "langevin";
    bool wasInitialized = false, isStepping = false, isLoading = false;
    RunState run;
    Proposal lastProposal;
    std::deque<Proposal> pending;
    int proposalCapacity = 1000;
    bool keepProposalPositions = false;
    long long numDropped = 0;
};

} // namespace AtmosPlugin

#endif // ATMOS_ATMOSINTEGRATOR_H_
