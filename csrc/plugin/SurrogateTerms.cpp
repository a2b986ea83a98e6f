#include "SurrogateTerms.h"

#include "openmm/AndersenThermostat.h"
#include "openmm/CMAPTorsionForce.h"
#include "openmm/CMMotionRemover.h"
#include "openmm/CustomGBForce.h"
#include "openmm/GBSAOBCForce.h"
#include "openmm/HarmonicAngleForce.h"
#include "openmm/HarmonicBondForce.h"
#include "openmm/MonteCarloAnisotropicBarostat.h"
#include "openmm/MonteCarloBarostat.h"
#include "openmm/MonteCarloFlexibleBarostat.h"
#include "openmm/MonteCarloMembraneBarostat.h"
#include "openmm/NonbondedForce.h"
#include "openmm/PeriodicTorsionForce.h"
#include "openmm/RBTorsionForce.h"
#include "openmm/TabulatedFunction.h"
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

// The offset of the radii in GBSAOBCForce and in most of the CustomGBForces (in nm).
static const double OBC_OFFSET = 0.009;

namespace {

using Sphere = SurrogateTerms::Sphere;

/** Torsions by their atoms, so that terms of one quadruple are summed. */
class TorsionTable {
public:
    explicit TorsionTable(vector<BondedTerm>& terms) : terms(terms) {}
    BondedTerm& at(const array<int, 4>& atoms) {
        const auto [entry, isNew] = places.try_emplace(atoms, terms.size());
        if (isNew) {
            terms.emplace_back();
            terms.back().atoms.assign(atoms.begin(), atoms.end());
        }
        return terms[entry->second];
    }

private:
    vector<BondedTerm>& terms;
    map<array<int, 4>, size_t> places;
};

/** The number after a name and "=" in an expression, or a default. */
double numberAfter(const string& expression, const string& name, double otherwise) {
    const size_t place = expression.find(name + "=");
    return place == string::npos ? otherwise : strtod(expression.c_str() + place + name.size() + 1, nullptr);
}

bool addPeriodic(const PeriodicTorsionForce& force, TorsionTable& table) {
    for (int i = 0; i < force.getNumTorsions(); i++) {
        array<int, 4> atoms;
        int period;
        double phase, k;
        force.getTorsionParameters(i, atoms[0], atoms[1], atoms[2], atoms[3], period, phase, k);
        if (period < 1 || period > 6)
            return false;
        BondedTerm& torsion = table.at(atoms);
        torsion.cosines[static_cast<size_t>(period - 1)] += k * cos(phase);
        torsion.sines[static_cast<size_t>(period - 1)] += k * sin(phase);
    }
    return true;
}

void addRyckaertBellemans(const RBTorsionForce& force, TorsionTable& table) {
    for (int i = 0; i < force.getNumTorsions(); i++) {
        array<int, 4> atoms;
        double c0, c1, c2, c3, c4, c5;
        force.getTorsionParameters(i, atoms[0], atoms[1], atoms[2], atoms[3], c0, c1, c2, c3, c4, c5);

        // Powers of cos(phi - pi) as multiples of cos(n phi).

        array<double, 6>& a = table.at(atoms).cosines;
        a[0] -= c1 + 0.75 * c3 + 0.625 * c5;
        a[1] += 0.5 * (c2 + c4);
        a[2] -= 0.25 * c3 + 0.3125 * c5;
        a[3] += 0.125 * c4;
        a[4] -= 0.0625 * c5;
    }
}

void addMaps(const CMAPTorsionForce& force, vector<BondedTerm>& terms) {
    vector<shared_ptr<const TorsionMap>> maps;
    for (int i = 0; i < force.getNumMaps(); i++) {
        int size;
        vector<double> energy;
        force.getMapParameters(i, size, energy);
        maps.push_back(make_shared<const TorsionMap>(size, energy));
    }
    for (int i = 0; i < force.getNumTorsions(); i++) {
        BondedTerm term;
        term.kind = BondedTerm::Kind::Map;
        vector<int>& a = term.atoms;
        a.resize(8);
        int map;
        force.getTorsionParameters(i, map, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
        term.map = maps[static_cast<size_t>(map)];
        terms.push_back(term);
    }
}

void addBonds(const HarmonicBondForce& force, vector<BondedTerm>& terms) {
    for (int i = 0; i < force.getNumBonds(); i++) {
        BondedTerm term;
        term.kind = BondedTerm::Kind::Bond;
        term.atoms.resize(2);
        force.getBondParameters(i, term.atoms[0], term.atoms[1], term.rest, term.stiffness);
        terms.push_back(term);
    }
}

void addAngles(const HarmonicAngleForce& force, vector<BondedTerm>& terms) {
    for (int i = 0; i < force.getNumAngles(); i++) {
        BondedTerm term;
        term.kind = BondedTerm::Kind::Angle;
        term.atoms.resize(3);
        force.getAngleParameters(i, term.atoms[0], term.atoms[1], term.atoms[2], term.rest, term.stiffness);
        terms.push_back(term);
    }
}

/** Add the terms of a few atoms; false where the force has others. */
bool addBonded(const Force& force, vector<BondedTerm>& terms, TorsionTable& table) {
    if (const auto* periodic = dynamic_cast<const PeriodicTorsionForce*>(&force))
        return addPeriodic(*periodic, table);
    if (const auto* torsions = dynamic_cast<const RBTorsionForce*>(&force))
        addRyckaertBellemans(*torsions, table);
    else if (const auto* maps = dynamic_cast<const CMAPTorsionForce*>(&force))
        addMaps(*maps, terms);
    else if (const auto* bonds = dynamic_cast<const HarmonicBondForce*>(&force))
        addBonds(*bonds, terms);
    else if (const auto* angles = dynamic_cast<const HarmonicAngleForce*>(&force))
        addAngles(*angles, terms);
    else
        return false;
    return true;
}

/** The polynomial in psi of a model without parameters for each atom; false if there is no such model. */
bool findCurve(const string& expression, bool& hasCurve, array<double, 3>& curve) {
    static const pair<const char*, array<double, 3>> known[] = {
            {"tanh(0.8*psi+2.909125*psi^3)", {0.8, 0, 2.909125}},
            {"tanh(psi-0.8*psi^2+4.85*psi^3)", {1, 0.8, 4.85}},
            {"tanh(1.09511284*psi-1.907992938*psi^2+2.50798245*psi^3)", {1.09511284, 1.907992938, 2.50798245}}};
    hasCurve = expression.rfind("1/(1/or-I)", 0) != 0;
    if (!hasCurve)
        return true;
    for (const auto& [text, values] : known)
        if (expression.find(text) != string::npos) {
            curve = values;
            return true;
        }
    return false;
}

bool readTable(const CustomGBForce& force, const string& name, int& size, vector<double>& values) {
    for (int i = 0; i < force.getNumTabulatedFunctions(); i++) {
        const auto* table = dynamic_cast<const Discrete2DFunction*>(&force.getTabulatedFunction(i));
        if (force.getTabulatedFunctionName(i) != name || table == nullptr)
            continue;
        int other;
        vector<double> found;
        table->getFunctionParameters(size, other, found);

        // OpenMM's tables run fastest along the first index; here along the second.

        values.resize(found.size());
        for (int a = 0; a < size; a++)
            for (int b = 0; b < other; b++)
                values[static_cast<size_t>(a * other + b)] = found[static_cast<size_t>(a + size * b)];
        return size == other;
    }
    return false;
}

bool addCustomBorn(const CustomGBForce& force, SurrogateTerms& terms) {
    map<string, int> places;
    for (int i = 0; i < force.getNumPerParticleParameters(); i++)
        places[force.getPerParticleParameterName(i)] = i;
    if (!terms.spheres.empty() || !places.count("charge") || !places.count("or") || !places.count("sr") || force.getNumComputedValues() != 2 ||
        force.getNonbondedMethod() == CustomGBForce::CutoffPeriodic)
        return false;
    string names[2], expressions[2];
    CustomGBForce::ComputationType type;
    for (int i = 0; i < 2; i++)
        force.getComputedValueParameters(i, names[i], expressions[i], type);
    const bool hasCurves = places.count("alpha") && places.count("beta") && places.count("gamma");
    array<double, 3> curve = {};
    bool hasCurve = true;
    if (names[0] != "I" || names[1] != "B" || (!hasCurves && !findCurve(expressions[1], hasCurve, curve)))
        return false;
    const bool hasNeck = places.count("radindex") != 0;
    if (hasNeck && !(readTable(force, "getm0", terms.numTypes, terms.neckHeight) && readTable(force, "getd0", terms.numTypes, terms.neckPlace)))
        return false;

    // Single-particle terms: self energy and surface; the pair term has the same dielectric constants.

    double solvent = 78.5, solute = 1, kappa = 0;
    for (int i = 0; i < force.getNumEnergyTerms(); i++) {
        string expression;
        force.getEnergyTermParameters(i, expression, type);
        solvent = numberAfter(expression, "solventDielectric", solvent);
        solute = numberAfter(expression, "soluteDielectric", solute);
        kappa = numberAfter(expression, "kappa", kappa);
        if (expression.find("(radius/B)^6") != string::npos)
            terms.surfaceEnergy = strtod(expression.c_str(), nullptr);
    }
    const double offset = numberAfter(expressions[1], "offset", OBC_OFFSET);
    terms.polarity = 1 / solute - 1 / solvent;
    terms.neckScale = hasNeck ? numberAfter(expressions[0], "neckScale", 0) : 0;
    terms.hasNeck = hasNeck;
    terms.hasCurve = hasCurve;
    for (int i = 0; i < force.getNumParticles(); i++) {
        vector<double> p;
        force.getParticleParameters(i, p);
        const auto value = [&](const char* name) { return p[static_cast<size_t>(places[name])]; };
        Sphere sphere;
        sphere.charge = value("charge");
        sphere.offsetRadius = value("or");
        sphere.scaledRadius = value("sr");
        sphere.radius = sphere.offsetRadius + offset;
        sphere.curve = hasCurves ? array<double, 3>{value("alpha"), value("beta"), value("gamma")} : curve;
        sphere.type = hasNeck ? static_cast<int>(value("radindex")) : 0;
        terms.spheres.push_back(sphere);
    }
    return kappa == 0 && force.getNonbondedMethod() == CustomGBForce::NoCutoff;
}

bool addBorn(const GBSAOBCForce& force, SurrogateTerms& terms) {
    if (!terms.spheres.empty() || force.getNonbondedMethod() == GBSAOBCForce::CutoffPeriodic)
        return false;
    terms.polarity = 1 / force.getSoluteDielectric() - 1 / force.getSolventDielectric();
    terms.surfaceEnergy = 4 * M_PI * force.getSurfaceAreaEnergy();
    terms.hasCurve = true;
    for (int i = 0; i < force.getNumParticles(); i++) {
        double charge, radius, scale;
        force.getParticleParameters(i, charge, radius, scale);
        const double reduced = radius - OBC_OFFSET;
        terms.spheres.push_back({charge, radius, reduced, scale * reduced, {1, 0.8, 4.85}, 0});
    }
    return force.getNonbondedMethod() == GBSAOBCForce::NoCutoff;
}

/** What a cutoff in a periodic box does to pairs. */
void addCutoff(const NonbondedForce& force, SurrogateTerms& terms) {
    const double cutoff = terms.cutoff = force.getCutoffDistance();
    terms.switchDistance = force.getUseSwitchingFunction() ? force.getSwitchingDistance() : cutoff;
    if (force.getNonbondedMethod() == NonbondedForce::CutoffPeriodic) {
        const double dielectric = force.getReactionFieldDielectric();
        terms.square = (dielectric - 1) / (2 * dielectric + 1) / (cutoff * cutoff * cutoff);
        terms.shift = 3 * dielectric / (2 * dielectric + 1) / cutoff;
        return;
    }

    // Ewald's sums are nearer to a force that is shifted to 0 at the cutoff than to their own part in real space.

    terms.isEwald = true;
    terms.linear = 1 / (cutoff * cutoff);
    terms.shift = 2 / cutoff;
}

bool addPairs(const NonbondedForce& force, SurrogateTerms& terms) {
    if (terms.hasPairs)
        return false;
    for (int i = 0; i < terms.numAtoms; i++) {
        double charge, sigma, epsilon;
        force.getParticleParameters(i, charge, sigma, epsilon);
        terms.charge.push_back(charge);
        terms.sigma.push_back(sigma);
        terms.epsilon.push_back(epsilon);
    }
    for (int k = 0; k < force.getNumExceptions(); k++) {
        SurrogateTerms::Exception pair;
        force.getExceptionParameters(k, pair.first, pair.second, pair.chargeProduct, pair.sigma, pair.epsilon);
        terms.exceptions.push_back(pair);
    }
    terms.exceptionsAreNearest = force.getExceptionsUsePeriodicBoundaryConditions();
    const auto method = force.getNonbondedMethod();
    terms.isPeriodic = method != NonbondedForce::NoCutoff && method != NonbondedForce::CutoffNonPeriodic;
    if (terms.isPeriodic)
        addCutoff(force, terms);
    terms.hasPairs = true;
    return method != NonbondedForce::CutoffNonPeriodic && force.getNumParticleParameterOffsets() == 0 &&
           force.getNumExceptionParameterOffsets() == 0;
}

/** Whether a force has no energy. */
bool isIndifferent(const Force& force) {
    return dynamic_cast<const CMMotionRemover*>(&force) != nullptr || dynamic_cast<const AndersenThermostat*>(&force) != nullptr ||
           dynamic_cast<const MonteCarloBarostat*>(&force) != nullptr || dynamic_cast<const MonteCarloAnisotropicBarostat*>(&force) != nullptr ||
           dynamic_cast<const MonteCarloMembraneBarostat*>(&force) != nullptr ||
           dynamic_cast<const MonteCarloFlexibleBarostat*>(&force) != nullptr;
}

} // namespace

SurrogateTerms::SurrogateTerms(const System& system, int groups) : numAtoms(system.getNumParticles()) {
    TorsionTable table(bonded);
    string bornName;
    for (int i = 0; i < system.getNumForces(); i++) {
        const Force& force = system.getForce(i);
        if ((groups & (1 << force.getForceGroup())) == 0)
            continue;
        bool isKnown = false;
        if (const auto* pairs = dynamic_cast<const NonbondedForce*>(&force))
            isKnown = addPairs(*pairs, *this);
        else if (const auto* custom = dynamic_cast<const CustomGBForce*>(&force))
            isKnown = addCustomBorn(*custom, *this);
        else if (const auto* born = dynamic_cast<const GBSAOBCForce*>(&force))
            isKnown = addBorn(*born, *this);
        else
            isKnown = isIndifferent(force) || addBonded(force, bonded, table);
        if (bornName.empty() && !spheres.empty())
            bornName = force.getName();
        if (!isKnown)
            unknown.push_back(force.getName());
    }
    if (isPeriodic && !spheres.empty()) {
        // Not in a box.

        if (find(unknown.begin(), unknown.end(), bornName) == unknown.end())
            unknown.push_back(bornName);
        spheres.clear();
    }
}

void SurrogateTerms::leaveOut(const vector<int>& atoms) {
    bool hasPart = false;
    for (int atom : atoms) {
        const size_t i = static_cast<size_t>(atom);
        if (!spheres.empty()) {
            hasPart = hasPart || spheres[i].charge != 0;
            spheres[i].charge = 0;
            spheres[i].isLeftOut = true;
        }
        if (!hasPairs)
            continue;
        hasPart = hasPart || charge[i] != 0 || epsilon[i] != 0;
        charge[i] = epsilon[i] = 0;
        for (Exception& pair : exceptions)
            if (pair.first == atom || pair.second == atom)
                pair.chargeProduct = pair.epsilon = 0;
    }
    const auto isOfThem = [&](const BondedTerm& term) {
        return find_first_of(term.atoms.begin(), term.atoms.end(), atoms.begin(), atoms.end()) != term.atoms.end();
    };
    const auto end = remove_if(bonded.begin(), bonded.end(), isOfThem);
    hasPart = hasPart || end != bonded.end();
    bonded.erase(end, bonded.end());
    if (hasPart)
        unknown.push_back("virtual sites");
}

} // namespace AtmosPlugin
