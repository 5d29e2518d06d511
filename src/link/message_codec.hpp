// Each message's fields, in their order on the wire. Used by messages.cpp alone.
//
// One put/get pair a message, side by side, so that an order that differs shows.
#pragma once

#include "link/messages.hpp"
#include "link/wire.hpp"

namespace remus::link::codec {

void put(wire::Writer& w, const Hello& m);
void put(wire::Writer& w, const Welcome& m);
void put(wire::Writer& w, const Refuse& m);
void put(wire::Writer& w, const Goodbye& m);
void put(wire::Writer& w, const Active& m);
void put(wire::Writer& w, const HeartbeatMsg& m);
void put(wire::Writer& w, const Ack& m);
void put(wire::Writer& w, const WindowUpdate& m);
void put(wire::Writer& w, const SessionBegin& m);
void put(wire::Writer& w, const SessionReady& m);
void put(wire::Writer& w, const HashOffer& m);
void put(wire::Writer& w, const SyncPages& m);
void put(wire::Writer& w, const EpochBegin& m);
void put(wire::Writer& w, const EpochPages& m);
void put(wire::Writer& w, const EpochDevice& m);
void put(wire::Writer& w, const EpochEnd& m);
void put(wire::Writer& w, const VerifyBegin& m);
void put(wire::Writer& w, const VerifyHashes& m);
void put(wire::Writer& w, const VerifyResult& m);
void put(wire::Writer& w, const DiskSync& m);
void put(wire::Writer& w, const DiskWrites& m);
void put(wire::Writer& w, const VerifyDiskHashes& m);
void put(wire::Writer& w, const DiskHashesWanted& m);
void put(wire::Writer& w, const DiskHashes& m);

/// Reads the fields; the reader knows afterwards whether they fitted. Opaque data is what is left, taken from
/// `whole`.
void get(wire::Reader& r, const Payload& whole, Hello& m);
void get(wire::Reader& r, const Payload& whole, Welcome& m);
void get(wire::Reader& r, const Payload& whole, Refuse& m);
void get(wire::Reader& r, const Payload& whole, Goodbye& m);
void get(wire::Reader& r, const Payload& whole, Active& m);
void get(wire::Reader& r, const Payload& whole, HeartbeatMsg& m);
void get(wire::Reader& r, const Payload& whole, Ack& m);
void get(wire::Reader& r, const Payload& whole, WindowUpdate& m);
void get(wire::Reader& r, const Payload& whole, SessionBegin& m);
void get(wire::Reader& r, const Payload& whole, SessionReady& m);
void get(wire::Reader& r, const Payload& whole, HashOffer& m);
void get(wire::Reader& r, const Payload& whole, SyncPages& m);
void get(wire::Reader& r, const Payload& whole, EpochBegin& m);
void get(wire::Reader& r, const Payload& whole, EpochPages& m);
void get(wire::Reader& r, const Payload& whole, EpochDevice& m);
void get(wire::Reader& r, const Payload& whole, EpochEnd& m);
void get(wire::Reader& r, const Payload& whole, VerifyBegin& m);
void get(wire::Reader& r, const Payload& whole, VerifyHashes& m);
void get(wire::Reader& r, const Payload& whole, VerifyResult& m);
void get(wire::Reader& r, const Payload& whole, DiskSync& m);
void get(wire::Reader& r, const Payload& whole, DiskWrites& m);
void get(wire::Reader& r, const Payload& whole, VerifyDiskHashes& m);
void get(wire::Reader& r, const Payload& whole, DiskHashesWanted& m);
void get(wire::Reader& r, const Payload& whole, DiskHashes& m);

}  // namespace remus::link::codec
