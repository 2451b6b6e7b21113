# Ruby's sockets. usage: ruby socket.rb HOST PORT SECONDS
require "socket"

begin
  Socket.tcp(ARGV[0], ARGV[1].to_i, connect_timeout: ARGV[2].to_f) do |socket|
    puts "connected to #{socket.remote_address.inspect_sockaddr}: #{socket.read}"
  end
rescue SystemCallError, SocketError => error
  puts "#{error.class} #{error.message}"
end
