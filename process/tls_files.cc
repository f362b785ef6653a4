#include "process/tls_files.h"

#include <algorithm>
#include <ctime>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "process/small_file.h"

namespace mantissa::process {
namespace {

constexpr char kCertificateFlag[] = "--tls-certificate";
constexpr char kKeyFlag[] = "--tls-key";

template <auto Free>
struct FreeWith {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Bio = std::unique_ptr<BIO, FreeWith<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, FreeWith<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, FreeWith<EVP_PKEY_free>>;

Bio Over(const std::string& text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

// No passphrase is ever asked for: there may be no terminal, and nobody at it.
int NoPassphrase(char*, int, int, void*) { return 0; }

absl::Status Wrong(std::string_view flag, std::string_view path, std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(flag), ": ", std::string(path), " ", std::string(what)));
}

absl::StatusOr<std::string> Read(std::string_view flag, const std::string& path) {
  absl::StatusOr<std::string> text = ReadSmallFile(path);
  if (text.ok()) return text;
  return absl::Status(text.status().code(), absl::StrCat(std::string(flag), ": ", text.status().message()));
}

WallTime TimeOf(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return WallTime::max();
  return std::chrono::system_clock::from_time_t(timegm(&parts));
}

std::string Shown(WallTime time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts)};
}

absl::Status CheckDates(std::string_view flag, const std::string& path, const X509& certificate, WallTime now) {
  const WallTime begins = TimeOf(X509_get0_notBefore(&certificate));
  const WallTime ends = TimeOf(X509_get0_notAfter(&certificate));
  if (now > ends) {
    return Wrong(flag, path, absl::StrCat("expired on ", Shown(ends), "; put a new certificate there"));
  }
  if (now < begins) {
    return Wrong(
        flag, path,
        absl::StrCat("is not valid before ", Shown(begins), "; correct this machine's clock, or make a new one"));
  }
  return absl::OkStatus();
}

// All that a PEM file holds; there is one at least.
absl::StatusOr<std::vector<Certificate>> ParseCertificates(std::string_view flag, const std::string& path,
                                                           const std::string& pem) {
  const Bio bio = Over(pem);
  std::vector<Certificate> certificates;
  for (;;) {
    Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr));
    if (!certificate) break;
    certificates.push_back(std::move(certificate));
  }
  // The end of the text is an error to OpenSSL, and the only one that is none.
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!certificates.empty() && at_end) return certificates;
  return Wrong(flag, path, "is no certificate in PEM (-----BEGIN CERTIFICATE-----); give that file");
}

// Ours, with those that lead to its CA: each is needed. The first of their ends goes into `not_after`.
absl::StatusOr<Certificate> CheckChain(const std::string& path, const std::string& pem, WallTime now,
                                       WallTime& not_after) {
  absl::StatusOr<std::vector<Certificate>> chain = ParseCertificates(kCertificateFlag, path, pem);
  if (!chain.ok()) return chain.status();
  for (const Certificate& certificate : *chain) {
    const absl::Status dates = CheckDates(kCertificateFlag, path, *certificate, now);
    if (!dates.ok()) return dates;
    not_after = std::min(not_after, TimeOf(X509_get0_notAfter(certificate.get())));
  }
  return std::move(chain->front());
}

// Of many CAs, as a system has them, one may have expired and not be missed; when all have, nobody can be trusted.
absl::Status CheckCas(const std::string& flag, const std::string& path, const std::string& pem, WallTime now) {
  const absl::StatusOr<std::vector<Certificate>> cas = ParseCertificates(flag, path, pem);
  if (!cas.ok()) return cas.status();
  absl::Status first = absl::OkStatus();
  for (const Certificate& ca : *cas) {
    const absl::Status dates = CheckDates(flag, path, *ca, now);
    if (dates.ok()) return dates;
    if (first.ok()) first = dates;
  }
  return first;
}

absl::Status CheckKey(const std::string& path, const std::string& pem, const X509& certificate) {
  const Bio bio = Over(pem);
  const Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr));
  ERR_clear_error();
  if (!key) {
    const bool encrypted = pem.find("ENCRYPTED") != std::string::npos;
    return Wrong(kKeyFlag, path,
                 encrypted ? "has a passphrase, and nobody is there to give it; `openssl pkey` writes it without"
                           : "is no private key in PEM (-----BEGIN PRIVATE KEY-----); give that file");
  }
  const int same = X509_check_private_key(&certificate, key.get());
  ERR_clear_error();
  if (same == 1) return absl::OkStatus();
  return Wrong(kKeyFlag, path,
               absl::StrCat("is not the key of ", kCertificateFlag, "; give the two that belong together"));
}

}  // namespace

absl::StatusOr<TlsPems> ReadTlsFiles(const TlsFiles& files, WallTime now) {
  TlsPems pems;
  if (files.certificate.empty() != files.key.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(files.key.empty() ? kKeyFlag : kCertificateFlag,
                                                   ": is missing; a certificate and its key are given together, as ",
                                                   kCertificateFlag, " FILE and ", kKeyFlag, " FILE"));
  }
  if (!files.certificate.empty()) {
    absl::StatusOr<std::string> certificate = Read(kCertificateFlag, files.certificate);
    if (!certificate.ok()) return certificate.status();
    absl::StatusOr<std::string> key = Read(kKeyFlag, files.key);
    if (!key.ok()) return key.status();
    const absl::StatusOr<Certificate> own = CheckChain(files.certificate, *certificate, now, pems.not_after);
    if (!own.ok()) return own.status();
    const absl::Status matches = CheckKey(files.key, *key, **own);
    if (!matches.ok()) return matches;
    pems.certificate = *std::move(certificate);
    pems.key = *std::move(key);
  }
  if (!files.ca.empty()) {
    absl::StatusOr<std::string> ca = Read(files.ca_flag, files.ca);
    if (!ca.ok()) return ca.status();
    const absl::Status checked = CheckCas(files.ca_flag, files.ca, *ca, now);
    if (!checked.ok()) return checked;
    pems.ca = *std::move(ca);
  }
  return pems;
}

absl::StatusOr<TlsPems> ReadCallersTlsFiles(const TlsFiles& files, const std::string& secret_flag, WallTime now) {
  const std::string shown = files.certificate.empty() ? secret_flag : kCertificateFlag;
  if (files.ca.empty() && !shown.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(shown, ": is shown to a server over TLS only; name the CA of its certificate with ", files.ca_flag,
                     " FILE (/etc/ssl/certs/ca-certificates.crt for those that this machine trusts)"));
  }
  return ReadTlsFiles(files, now);
}

absl::Status CheckServerName(const TlsFiles& files, std::string_view address_flag, std::string_view address,
                             std::string_view server_name) {
  const bool lists = address.starts_with("ipv4:") || address.starts_with("ipv6:");
  if (files.ca.empty() || !server_name.empty() || !lists || address.find(',') == std::string_view::npos) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "--tls-server-name: is missing; ", std::string(address_flag),
      " lists several servers, and their certificates are held against one name: make them with a name that "
      "they share, and give it here"));
}

}  // namespace mantissa::process
