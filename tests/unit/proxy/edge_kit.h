// A server, an application that forwards, and an upstream in one loop, over real connections on both backends.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "base/metrics.h"
#include "http/server.h"
#include "tests/unit/http/wire_kit.h"
#include "upstream/cluster.h"

namespace trellis::proxy::test {

using namespace http::test;

// `Edge`: an http::Application made with the cluster.
template <class Edge>
class EdgeTest : public OnBothBackends {
 protected:
  void start(FarServer::Talk talk) {
    server_.reset();
    far_server_ = std::make_unique<FarServer>(*loop_, std::move(talk));
    auto hosts = std::make_shared<upstream::Hosts>("api", 1, config_.balance, metrics_);
    hosts->set_members({{.name = "far", .authority = "far:80", .address = far_server_->address()}}, Time::min());
    cluster_ = std::make_shared<upstream::Cluster>(std::move(hosts), config_, metrics_);
    edge_ = std::make_shared<Edge>(cluster_);
    server_ = std::make_unique<http::Server>(options_, edge_);
  }
  void TearDown() override {
    server_.reset();
    edge_.reset();
    if (cluster_) {
      EXPECT_EQ(cluster_->open_connections(), cluster_->idle_connections());
    }
    cluster_.reset();
    far_server_.reset();
    if (loop_) turns(5);
  }
  Socket connect(int receive_buffer = 0) {
    TcpPair pair = tcp_pair(*loop_, receive_buffer);
    server_->accept(pair.fd);
    return std::move(pair.far);
  }
  void send(Socket& socket, std::string text) {
    auto sent = fakes::run_task(*loop_, send_text(socket, std::move(text), soon()));
    EXPECT_TRUE(sent);
  }
  std::string receive(Socket& socket, std::string mark = "") {
    auto got = fakes::run_task(*loop_, receive_until(socket, std::move(mark), soon()));
    return got ? *got : "error: " + got.error().to_string();
  }

  upstream::UpstreamConfig config_;
  http::ServerOptions options_;
  Metrics metrics_;
  std::unique_ptr<FarServer> far_server_;
  std::shared_ptr<upstream::Cluster> cluster_;
  std::shared_ptr<Edge> edge_;
  std::unique_ptr<http::Server> server_;
};

}  // namespace trellis::proxy::test
