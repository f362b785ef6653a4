#include "server/rpc/without_reflection.h"

#include <memory>
#include <string>
#include <vector>

#include "grpcpp/impl/server_builder_option.h"
#include "grpcpp/impl/server_builder_plugin.h"

namespace mantissa::server {
namespace {

// A server that has nothing for its threads to wait on does not start; reflection was that something.
class Nothing final : public grpc::ServerBuilderPlugin {
 public:
  std::string name() override { return "nothing"; }
  void InitServer(grpc::ServerInitializer*) override {}
  void Finish(grpc::ServerInitializer*) override {}
  void ChangeArguments(const std::string&, void*) override {}
  bool has_sync_methods() const override { return true; }
};

class WithoutReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins, [](const auto& plugin) { return plugin->name() == "proto_server_reflection"; });
    plugins->push_back(std::make_unique<Nothing>());
  }
};

}  // namespace

void TakeAwayReflection(grpc::ServerBuilder& builder) { builder.SetOption(std::make_unique<WithoutReflection>()); }

}  // namespace mantissa::server
