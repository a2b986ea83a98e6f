#include "Proposal.h"

using namespace std;

namespace AtmosPlugin {

const string& reasonName(Reason reason) {
    static const string names[NUM_REASONS] = {"accepted", "nonfinite", "displaced",   "bonds",       "chirality", "cis_trans",
                                              "rings",    "clash",     "environment", "constraints", "energy",    "metropolis"};
    return names[static_cast<int>(reason)];
}

} // namespace AtmosPlugin
