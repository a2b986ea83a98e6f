#ifndef ATMOS_BASE64_H_
#define ATMOS_BASE64_H_

#include <string>

namespace AtmosPlugin {

/** Write bytes as base64 text (RFC 4648, with padding). */
std::string encodeBase64(const std::string& bytes);

/** Read base64 text back.  White space is skipped; anything else that is no base64 throws an OpenMMException. */
std::string decodeBase64(const std::string& text);

} // namespace AtmosPlugin

#endif // ATMOS_BASE64_H_
