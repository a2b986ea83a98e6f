#include "EnergyWindows.h"

#include <algorithm>
#include <cmath>

using namespace std;

namespace AtmosPlugin {

void EnergyStatistics::add(double energy) {
    count++;
    const double delta = energy - mean;
    mean += delta / static_cast<double>(count);
    sumSquares += delta * (energy - mean);
}

double EnergyStatistics::standardDeviation() const {
    return count < 2 ? 0.0 : sqrt(sumSquares / static_cast<double>(count - 1));
}

vector<EnergyWindows::Window>::const_iterator EnergyWindows::locate(const EnergyConditions& conditions) const {
    const auto known = find_if(windows.begin(), windows.end(), [&](const Window& window) { return window.conditions == conditions; });
    return known != windows.end() ? known : find_if(windows.begin(), windows.end(), [](const Window& window) { return !window.conditions; });
}

EnergyStatistics EnergyWindows::find(const EnergyConditions& conditions) const {
    const auto known = locate(conditions);
    return known == windows.end() ? EnergyStatistics() : known->statistics;
}

EnergyStatistics& EnergyWindows::use(const EnergyConditions& conditions) {
    const auto known = locate(conditions);
    Window window{conditions, known == windows.end() ? EnergyStatistics() : known->statistics};
    if (known != windows.end())
        windows.erase(known);
    else if (windows.size() >= CAPACITY)
        windows.erase(windows.begin());
    windows.push_back(std::move(window));
    return windows.back().statistics;
}

void EnergyWindows::setUnassigned(const EnergyStatistics& statistics) {
    erase_if(windows, [](const Window& window) { return !window.conditions; });
    windows.push_back({nullopt, statistics});
}

} // namespace AtmosPlugin
