// The name somebody probably meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mantissa::process {

// The candidate with the fewest insertions, deletions, substitutions and swaps of neighbours from `name`, the first of
// several; empty when even that one differs in more than half of its characters.
std::string NearestName(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace mantissa::process
