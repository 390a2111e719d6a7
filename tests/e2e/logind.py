"""A logind of our own on a bus of our own: what a node asks of systemd-logind before the machine shuts down."""
import os
import select
import subprocess
import sys
import threading

NAME, OBJECT, MANAGER = "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=%s</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>"""


class Logind:
    """hold(): whether somebody delays a shutdown. say(True): it begins; say(False): it is called off."""

    def __init__(self, folder, delay_s):
        self.address = f"unix:path={folder}/bus"
        config = os.path.join(folder, "bus.conf")
        with open(config, "w", encoding="utf-8") as f:
            f.write(BUS % os.path.join(folder, "bus"))
        self.bus = subprocess.Popen(["dbus-daemon", "--nofork", "--nopidfile", "--config-file", config, "--print-address"], stdout=subprocess.PIPE)
        self.bus.stdout.readline()  # it listens
        self.peer = subprocess.Popen([sys.executable, os.path.abspath(__file__), self.address, str(delay_s)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.peer.stdout.readline() == "there\n"

    def ask(self, word):
        self.peer.stdin.write(word + "\n")
        self.peer.stdin.flush()
        return self.peer.stdout.readline().strip()

    def held(self):
        return self.ask("held?") == "yes"

    def say(self, begins):
        self.ask("begins" if begins else "off")

    def end(self):
        for process in (self.peer, self.bus):
            process.kill()
            process.wait()
            process.stdout.close()
        self.peer.stdin.close()


def serve(address, delay_s):
    import dbus
    import dbus.service
    from dbus.mainloop.glib import DBusGMainLoop
    from gi.repository import GLib

    DBusGMainLoop(set_as_default=True)
    bus, holds = dbus.bus.BusConnection(address), []

    class Manager(dbus.service.Object):
        begun = False

        @dbus.service.method(MANAGER, in_signature="ssss", out_signature="h")
        def Inhibit(self, what, who, _why, mode):
            assert (what, who, mode) == ("shutdown", "kogge", "delay")
            ours, theirs = os.pipe()
            holds.append(ours)
            answer = dbus.types.UnixFd(theirs)
            os.close(theirs)
            return answer

        @dbus.service.method(dbus.PROPERTIES_IFACE, in_signature="ss", out_signature="v")
        def Get(self, _interface, name):
            return {"InhibitDelayMaxUSec": dbus.UInt64(delay_s * 1000000), "PreparingForShutdown": dbus.Boolean(self.begun)}[name]

        @dbus.service.signal(MANAGER, signature="b")
        def PrepareForShutdown(self, begins):
            self.begun = bool(begins)

    manager = Manager(bus, OBJECT)
    name = dbus.service.BusName(NAME, bus)

    def is_held():
        for fd in list(holds):
            if select.select([fd], [], [], 0)[0]:  # its other end is closed
                os.close(fd)
                holds.remove(fd)
        return bool(holds)

    def obey(word):
        if word != "held?":
            manager.PrepareForShutdown(word == "begins")
        print("yes" if is_held() else "no", flush=True)

    loop = GLib.MainLoop()

    def read():
        for line in sys.stdin:
            GLib.idle_add(obey, line.strip())
        loop.quit()
    threading.Thread(target=read, daemon=True).start()
    print("there", flush=True)
    loop.run()
    del name


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
