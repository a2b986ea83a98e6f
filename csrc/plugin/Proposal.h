#ifndef ATMOS_PROPOSAL_H_
#define ATMOS_PROPOSAL_H_

#include <string>
#include <vector>

namespace AtmosPlugin {

/**
 * Why a proposal ended as it did.  The checks are made in this order and the first that fails names
 * the proposal.
 */
enum class Reason {
    Accepted,
    Nonfinite,
    Displaced,
    Bonds,
    Chirality,
    CisTrans,
    Rings,
    Clash,
    Environment,
    Constraints,
    Energy,
    Metropolis
};

/** The number of values of Reason. */
constexpr int NUM_REASONS = 12;

/** Get the name of a reason as it is written in records: "accepted", "nonfinite", ... */
const std::string& reasonName(Reason reason);

/**
 * What is known of one proposed jump.  Energies are NaN where the proposal was turned down before
 * they were computed.
 */
struct Proposal {
    /** The number of the proposal, from 0; it selects the noise. */
    long long attempt = -1;
    /** The step count of the Context when the jump was tried. */
    long long step = 0;
    /** The name of the outcome. */
    std::string reason;
    /** How many relaxation stages were applied. */
    int stage = 0;
    /** What the module returned as log_ratio; stored and not used. */
    double logRatio = 0;
    /** The potential energy before the jump (in kJ/mol). */
    double energyBefore = 0;
    /** The potential energy of the new frame after constraints only (in kJ/mol). */
    double energyRaw = 0;
    /** The potential energy after the relaxation stages that were applied (in kJ/mol). */
    double energyAfter = 0;
    /** The highest energy that the filter let pass (in kJ/mol); infinite without a filter. */
    double energyLimit = 0;
    /** The model's atoms before the jump: x0, y0, z0, x1, ... (in nm). */
    std::vector<double> positionsBefore;
    /** The new frame as it was generated, superposed on the old one unless its reason is "nonfinite" or "displaced" (in nm). */
    std::vector<double> positionsRaw;
    /** The same atoms after constraints and relaxation (in nm); empty where it did not come to that. */
    std::vector<double> positionsAfter;
};

} // namespace AtmosPlugin

#endif // ATMOS_PROPOSAL_H_
