#include "SurrogateEnergy.h"

#include "PeriodicSurrogate.h"
#include "SoluteSurrogate.h"
#include "openmm/OpenMMException.h"
#include "openmm/VirtualSite.h"
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

void SurrogateEnergy::checkSize(const vector<Vec3>& positions) const {
    if (positions.size() != static_cast<size_t>(numAtoms))
        throw OpenMMException("SurrogateEnergy: there are " + to_string(positions.size()) + " positions, but the System has " +
                              to_string(numAtoms) + " particles");
}

/** Decide whether turning a group about its axis can change how some atoms stand to each other. */
static bool changes(const vector<int>& atoms, const vector<bool>& turns, const array<int, 2>& axis) {
    bool inside = false, outside = false;
    for (int atom : atoms)
        if (atom != axis[0] && atom != axis[1])
            (turns[static_cast<size_t>(atom)] ? inside : outside) = true;
    return inside && outside;
}

TurningGroups::TurningGroups(const TorsionParameters& parameters) {
    auto next = parameters.groupAtoms.begin();
    for (size_t k = 0; k < parameters.groupSizes.size(); k++) {
        atoms.emplace_back(next, next + parameters.groupSizes[k]);
        next += parameters.groupSizes[k];
        axes.push_back({parameters.torsionAtoms[4 * k + 1], parameters.torsionAtoms[4 * k + 2]});
    }
}

vector<int> TurningGroups::findChanged(size_t group, const vector<BondedTerm>& terms, int numAtoms) const {
    vector<bool> turns(static_cast<size_t>(numAtoms), false);
    for (int atom : atoms[group])
        turns[static_cast<size_t>(atom)] = true;
    vector<int> found;
    for (size_t i = 0; i < terms.size(); i++)
        if (changes(terms[i].atoms, turns, axes[group]))
            found.push_back(static_cast<int>(i));
    return found;
}

vector<BondedTerm> TurningGroups::selectChanged(const vector<BondedTerm>& terms, int numAtoms) const {
    vector<bool> isChanged(terms.size(), false);
    for (size_t k = 0; k < atoms.size(); k++)
        for (int i : findChanged(k, terms, numAtoms))
            isChanged[static_cast<size_t>(i)] = true;
    vector<BondedTerm> selected;
    for (size_t i = 0; i < terms.size(); i++)
        if (isChanged[i])
            selected.push_back(terms[i]);
    return selected;
}

/** Find the virtual sites that move when groups turn. */
static vector<int> findFollowers(const System& system, const TurningGroups& turning) {
    vector<bool> moves(static_cast<size_t>(system.getNumParticles()), false);
    for (const vector<int>& group : turning.atoms)
        for (int atom : group)
            moves[static_cast<size_t>(atom)] = true;
    vector<int> followers;
    for (bool isDone = false; !isDone;) {
        isDone = true; // until none is left: sites may be made of other sites
        for (int i = 0; i < system.getNumParticles(); i++) {
            if (!system.isVirtualSite(i) || moves[static_cast<size_t>(i)])
                continue;
            const VirtualSite& site = system.getVirtualSite(i);
            for (int k = 0; k < site.getNumParticles(); k++)
                if (moves[static_cast<size_t>(site.getParticle(k))] && !moves[static_cast<size_t>(i)]) {
                    moves[static_cast<size_t>(i)] = true;
                    followers.push_back(i);
                    isDone = false;
                }
        }
    }
    return followers;
}

unique_ptr<SurrogateEnergy> makeSurrogate(const System& system, const TorsionParameters& parameters, int groups) {
    for (const vector<int>* atoms : {&parameters.torsionAtoms, &parameters.groupAtoms})
        for (int atom : *atoms)
            if (atom < 0 || atom >= system.getNumParticles())
                throw OpenMMException("SurrogateEnergy: the torsions name particle " + to_string(atom) + ", but the System has " +
                                      to_string(system.getNumParticles()) + ", numbered from 0; find them in the Topology of this System");
    const TurningGroups turning(parameters);
    SurrogateTerms terms(system, groups);

    // Trials do not place virtual sites, and what depends on where they were would not be a function of the rest.

    terms.leaveOut(findFollowers(system, turning));
    if (terms.isPeriodic)
        return make_unique<PeriodicSurrogate>(terms, turning);
    return make_unique<SoluteSurrogate>(terms, turning);
}

} // namespace AtmosPlugin
