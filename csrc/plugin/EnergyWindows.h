#ifndef ATMOS_ENERGYWINDOWS_H_
#define ATMOS_ENERGYWINDOWS_H_

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace AtmosPlugin {

/** What the energies of the dynamics depend on besides the positions. */
struct EnergyConditions {
    /** The temperature of the dynamics (in K). */
    double temperature = 0;
    /** The force groups that the energy is taken of. */
    int forceGroups = -1;
    /** The parameters of the Context. */
    std::map<std::string, double> parameters;

    bool operator==(const EnergyConditions&) const = default;
};

/** How many energies are known, their mean (in kJ/mol) and sum of squared deviations. */
struct EnergyStatistics {
    long long count = 0;
    double mean = 0;
    double sumSquares = 0;

    /** Take in one more energy (Welford's update). */
    void add(double energy);
    /** The sample standard deviation (in kJ/mol); 0 for fewer than two energies. */
    double standardDeviation() const;

    bool operator==(const EnergyStatistics&) const = default;
};

/**
 * The energies that the dynamics had, apart for all conditions under which it ran: those at one temperature say
 * nothing about those at another.
 */
class EnergyWindows {
public:
    /** What is known under some conditions; without conditions it is that of those that are used next. */
    struct Window {
        std::optional<EnergyConditions> conditions;
        EnergyStatistics statistics;

        bool operator==(const Window&) const = default;
    };
    /** So many are kept; the one that was not used for the longest time goes first. */
    static constexpr std::size_t CAPACITY = 100;

    /** Get what is known under these conditions; nothing where they are new. */
    EnergyStatistics find(const EnergyConditions& conditions) const;
    /** Get what is known under these conditions in order to change it; conditions that are new are kept from then on. */
    EnergyStatistics& use(const EnergyConditions& conditions);
    /** Set what is known before there are conditions; it is taken for that of those that are used next. */
    void setUnassigned(const EnergyStatistics& statistics);
    /** Get all windows; the one that was used last comes last. */
    const std::vector<Window>& getWindows() const { return windows; }
    /** Put back what getWindows() gave. */
    void setWindows(std::vector<Window> values) { windows = std::move(values); }

    bool operator==(const EnergyWindows&) const = default;

private:
    std::vector<Window>::const_iterator locate(const EnergyConditions& conditions) const;
    std::vector<Window> windows;
};

} // namespace AtmosPlugin

#endif // ATMOS_ENERGYWINDOWS_H_
