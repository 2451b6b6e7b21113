// Boost.Asio: every address in its turn, within a time of its own. usage: asio HOST PORT SECONDS
#include <boost/asio.hpp>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>

namespace asio = boost::asio;
using asio::ip::tcp;

static void say(const boost::system::error_code &error) {
    std::cout << error.category().name() << ' ' << error.value() << ' ' << error.message() << '\n';
}

int main(int, char **arguments) {
    asio::io_context context;
    tcp::resolver resolver(context);
    tcp::socket socket(context);
    asio::steady_timer timer(context, std::chrono::seconds(std::atoi(arguments[3])));
    std::string received;

    timer.async_wait([&](const boost::system::error_code &error) {
        if (!error) {
            resolver.cancel();
            socket.close();
        }
    });
    auto read = [&](const boost::system::error_code &error, std::size_t) {
        timer.cancel();
        std::cout << received;
        say(error);
    };
    auto connected = [&](const boost::system::error_code &error, const tcp::endpoint &peer) {
        if (error) {
            timer.cancel();
            say(error);
            return;
        }
        std::cout << "connected to " << peer << '\n';
        asio::async_read(socket, asio::dynamic_buffer(received), read);
    };
    resolver.async_resolve(arguments[1], arguments[2],
                           [&](const boost::system::error_code &error, const tcp::resolver::results_type &found) {
                               if (error) {
                                   timer.cancel();
                                   say(error);
                                   return;
                               }
                               asio::async_connect(socket, found, connected);
                           });
    context.run();
}
