#include "PeriodicSurrogate.h"

#include "VectorMath.h"
#include "openmm/OpenMMException.h"
#include <algorithm>
#include <cmath>
#include <numeric>

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

static vector<int> unionOf(const vector<vector<int>>& lists, const vector<int>& chosen) {
    vector<int> result;
    for (int k : chosen)
        result.insert(result.end(), lists[static_cast<size_t>(k)].begin(), lists[static_cast<size_t>(k)].end());
    sort(result.begin(), result.end());
    result.erase(unique(result.begin(), result.end()), result.end());
    return result;
}

static vector<int> numbers(size_t count) {
    vector<int> result(count);
    iota(result.begin(), result.end(), 0);
    return result;
}

PeriodicSurrogate::PeriodicSurrogate(const SurrogateTerms& terms, const TurningGroups& groups)
        : SurrogateEnergy(terms), cutoff(terms.cutoff), linear(terms.linear), square(terms.square), shift(terms.shift), isEwald(terms.isEwald),
          exceptionsAreNearest(terms.exceptionsAreNearest), turning(unionOf(groups.atoms, numbers(groups.atoms.size()))),
          memberOf(static_cast<size_t>(terms.numAtoms), -1), bonded(groups.selectChanged(terms.bonded, terms.numAtoms)) {
    const auto single = [](double value) { return static_cast<float>(value); };
    const double width = cutoff - terms.switchDistance;
    rule = {single(cutoff * cutoff), single(linear), single(square), single(shift), single(terms.switchDistance), width > 0 ? single(1 / width) : 0};
    for (size_t i = 0; i < static_cast<size_t>(numAtoms); i++)
        parameters.push_back({single(sqrt(COULOMB) * terms.charge[i]), single(0.5 * terms.sigma[i]), single(sqrt(terms.epsilon[i]))});
    for (size_t k = 0; k < turning.size(); k++)
        memberOf[static_cast<size_t>(turning[k])] = static_cast<int>(k);
    for (int i = 0; i < numAtoms; i++)
        if (memberOf[static_cast<size_t>(i)] < 0)
            fixed.push_back(i);
    partners.resize(turning.size());
    fixedPartners.resize(turning.size());
    const auto addPartner = [&](int atom, int other, const SurrogateTerms::Exception& pair) {
        const int member = memberOf[static_cast<size_t>(atom)], otherMember = memberOf[static_cast<size_t>(other)];
        if (member < 0)
            return;
        const double plain = terms.charge[static_cast<size_t>(atom)] * terms.charge[static_cast<size_t>(other)];
        partners[static_cast<size_t>(member)].push_back({otherMember < 0 ? other : otherMember, otherMember >= 0, pair.chargeProduct, plain,
                                                         pair.sigma, pair.epsilon});
        if (otherMember < 0)
            fixedPartners[static_cast<size_t>(member)].push_back(other);
    };
    for (const SurrogateTerms::Exception& pair : terms.exceptions) {
        addPartner(pair.first, pair.second, pair);
        addPartner(pair.second, pair.first, pair);
    }
    for (size_t k = 0; k < groups.atoms.size(); k++) {
        membersOf.emplace_back();
        for (int atom : groups.atoms[k])
            membersOf.back().push_back(memberOf[static_cast<size_t>(atom)]);
        termsOf.push_back(groups.findChanged(k, bonded, numAtoms));
    }
    withFixed.resize(turning.size());
    ofTerm.resize(bonded.size());
    isShown.assign(turning.size(), false);
}

double PeriodicSurrogate::partnerEnergy(const Vec3& position, const Partner& partner, const Vec3& other) const {
    Vec3 d = other - position;
    if (exceptionsAreNearest)
        for (int k = 2; k >= 0; k--)
            d -= box[static_cast<size_t>(k)] * floor(d[k] / box[static_cast<size_t>(k)][k] + 0.5);
    const double r2 = d.dot(d), r = max(sqrt(r2), static_cast<double>(CLOSEST)), s2 = partner.sigma * partner.sigma / r2, s6 = s2 * s2 * s2;
    double sum = COULOMB * partner.chargeProduct / r + 4 * partner.epsilon * s6 * (s6 - 1);
    if (isEwald && r < cutoff)
        sum += COULOMB * partner.plainProduct * (r * (linear + square * r) - shift);
    return sum;
}

double PeriodicSurrogate::energyWithFixed(int member, const Vec3& position) {
    const size_t k = static_cast<size_t>(member), atom = static_cast<size_t>(turning[k]);
    double sum = surroundings.sum(rule, position, parameters[atom], fixedPartners[k]);
    for (const Partner& partner : partners[k])
        if (!partner.turns)
            sum += partnerEnergy(position, partner, present[static_cast<size_t>(partner.atom)]);
    return sum;
}

double PeriodicSurrogate::energyOfMoved(const vector<Vec3>& at) {
    // Those that move are hidden, and shown again one by one as their rows are summed, so that each pair counts once.

    for (size_t n = 0; n < moved.size(); n++) {
        const size_t k = static_cast<size_t>(moved[n]);
        members.place(k, wrapPoint(at[n], box));
        members.hide(k);
        isShown[k] = false;
    }
    double sum = 0;
    const auto placeOf = [&](int member) {
        const auto found = lower_bound(moved.begin(), moved.end(), member);
        if (found != moved.end() && *found == member)
            return at[static_cast<size_t>(found - moved.begin())];
        return present[static_cast<size_t>(turning[static_cast<size_t>(member)])];
    };
    for (size_t n = 0; n < moved.size(); n++) {
        const size_t k = static_cast<size_t>(moved[n]);
        for (const Partner& partner : partners[k])
            if (partner.turns)
                members.hide(static_cast<size_t>(partner.atom));
        sum += sumNearest(rule, members, wrapPoint(at[n], box), parameters[static_cast<size_t>(turning[k])], box);
        for (const Partner& partner : partners[k])
            if (partner.turns && isShown[static_cast<size_t>(partner.atom)]) {
                const size_t other = static_cast<size_t>(partner.atom);
                members.show(other, parameters[static_cast<size_t>(turning[other])]);
                sum += partnerEnergy(at[n], partner, placeOf(partner.atom));
            }
        members.show(k, parameters[static_cast<size_t>(turning[k])]);
        isShown[k] = true;
    }
    return sum;
}

double PeriodicSurrogate::begin(const vector<Vec3>& positions, const BoxVectors& vectors) {
    checkSize(positions);
    for (size_t i = 0; i < positions.size(); i++)
        if (!isfinite(positions[i].dot(positions[i])))
            throw OpenMMException("SurrogateEnergy: the position of particle " + to_string(i) + " is not finite");
    box = vectors;
    present = positions;
    surroundings.build(fixed, positions, box, cutoff, parameters);
    energy = 0;
    for (size_t i = 0; i < bonded.size(); i++) {
        ofTerm[i] = 0;
        bonded[i].addTo(ofTerm[i], positions);
        energy += ofTerm[i];
    }
    members.reset(turning.size());
    moved = numbers(turning.size());
    places.clear();
    for (size_t k = 0; k < turning.size(); k++) {
        places.push_back(positions[static_cast<size_t>(turning[k])]);
        withFixed[k] = energyWithFixed(static_cast<int>(k), places[k]);
        energy += withFixed[k];
    }
    energy += energyOfMoved(places);
    return energy;
}

double PeriodicSurrogate::propose(const vector<Vec3>& positions, const vector<int>& changed) {
    moved = unionOf(membersOf, changed);
    changedTerms = unionOf(termsOf, changed);
    newEnergy = energy;
    newOfTerm.assign(changedTerms.size(), 0);
    for (size_t n = 0; n < changedTerms.size(); n++) {
        const size_t i = static_cast<size_t>(changedTerms[n]);
        bonded[i].addTo(newOfTerm[n], positions);
        newEnergy += newOfTerm[n] - ofTerm[i];
    }
    places.clear();
    newWithFixed.clear();
    vector<Vec3> before;
    for (int member : moved) {
        const size_t k = static_cast<size_t>(member), atom = static_cast<size_t>(turning[k]);
        places.push_back(positions[atom]);
        before.push_back(present[atom]);
        newWithFixed.push_back(energyWithFixed(member, positions[atom]));
        newEnergy += newWithFixed.back() - withFixed[k];
    }
    newEnergy += energyOfMoved(places);
    newEnergy -= energyOfMoved(before);
    return newEnergy;
}

void PeriodicSurrogate::accept() {
    for (size_t n = 0; n < moved.size(); n++) {
        const size_t k = static_cast<size_t>(moved[n]);
        present[static_cast<size_t>(turning[k])] = places[n];
        members.place(k, wrapPoint(places[n], box));
        withFixed[k] = newWithFixed[n];
    }
    for (size_t n = 0; n < changedTerms.size(); n++)
        ofTerm[static_cast<size_t>(changedTerms[n])] = newOfTerm[n];
    energy = newEnergy;
}

} // namespace AtmosPlugin
