// All pages of a list.
#pragma once

#include "absl/status/status.h"

#include "client/cli/connection.h"

namespace mantissa::cli {

// Calls `method` until the last page, and `take` with each response. Ends early with an error, or when `take` returns
// false.
template <typename Stub, typename Request, typename Response, typename Take>
absl::Status ForEachPage(Connection& connection, Stub& stub,
                         grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*), Request request,
                         Take take) {
  while (true) {
    Response response;
    const absl::Status asked = connection.Ask(stub, method, request, response);
    if (!asked.ok()) return asked;
    if (!take(response) || response.next_page_token().empty()) return absl::OkStatus();
    // A server that hands out the same page for ever is not followed for ever.
    if (response.next_page_token() == request.page_token()) {
      return absl::InternalError("the server's list does not end: it repeats a page");
    }
    request.set_page_token(response.next_page_token());
  }
}

}  // namespace mantissa::cli
