#include "truth.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace remus::sim {

std::uint32_t Truth::new_lineage() {
  lineages_.emplace_back();
  return static_cast<std::uint32_t>(lineages_.size() - 1);
}

Truth::SessionTruth& Truth::of(Session session) {
  for (auto it = sessions_.rbegin(); it != sessions_.rend(); ++it) {
    if (it->session == session) return *it;
  }
  sessions_.push_back({session, {}, -1, -1});
  return sessions_.back();
}

void Truth::captured(Session session, Epoch epoch, const Snapshot& snapshot) {
  SessionTruth& truth = of(session);
  if (epoch != truth.epochs.size())
    throw Violation("model", fmt::format("epoch {} captured out of order", epoch));
  truth.epochs.push_back(snapshot);
}

void Truth::whole(Session session, Epoch epoch) {
  SessionTruth& truth = of(session);
  truth.whole = std::max(truth.whole, static_cast<std::int64_t>(epoch));
}

void Truth::ack_sent(Session session, Epoch epoch) {
  SessionTruth& truth = of(session);
  if (static_cast<std::int64_t>(epoch) > truth.whole) {
    throw Violation("S1", fmt::format("backup acknowledges epoch {}, whole is {}", epoch, truth.whole));
  }
  truth.acked = std::max(truth.acked, static_cast<std::int64_t>(epoch));
}

void Truth::released(Session session, Epoch upto) {
  const SessionTruth& truth = of(session);
  if (static_cast<std::int64_t>(upto) > truth.whole) {
    throw Violation(
        "S1", fmt::format("output of epoch {} released, the backup held only {} whole", upto, truth.whole));
  }
}

void Truth::seen(std::uint32_t lineage, std::uint64_t progress) {
  Lineage& line = lineages_[lineage];
  line.seen = std::max(line.seen, progress);
  if (line.fork && progress > *line.fork && !loss_accepted_) {
    throw Violation("S3", fmt::format("a superseded guest speaks: lineage {} at {}, forked at {}", lineage,
                                      progress, *line.fork));
  }
}

void Truth::takes(std::size_t host, Generation generation) {
  if (loss_accepted_) return;
  if (!taken_.empty() && generation <= taken_.rbegin()->first) {
    throw Violation("S3", fmt::format("host {} takes generation {}, but {} is taken already", host,
                                      generation, taken_.rbegin()->first));
  }
  taken_.emplace(generation, host);
}

void Truth::may_activate(Session session, Epoch epoch) {
  const SessionTruth& truth = of(session);
  if (static_cast<std::int64_t>(epoch) > truth.whole) {
    throw Violation("S2", fmt::format("activation from epoch {}, whole is {}", epoch, truth.whole));
  }
  if (static_cast<std::int64_t>(epoch) < truth.acked) {
    throw Violation("S5",
                    fmt::format("activation from epoch {}, but {} was acknowledged", epoch, truth.acked));
  }
}

std::uint32_t Truth::activates(Session session, Epoch epoch, const Snapshot& image) {
  may_activate(session, epoch);
  const SessionTruth& truth = of(session);
  const Snapshot& wanted = truth.epochs.at(epoch);
  if (image.lineage != wanted.lineage || image.progress != wanted.progress) {
    throw Violation("S5", fmt::format("the image is not epoch {}", epoch));
  }
  if (image.disk != wanted.disk) {
    throw Violation("S4", fmt::format("the disk does not hold exactly the writes of epochs up to {}", epoch));
  }
  Lineage& line = lineages_[image.lineage];
  if (line.seen > image.progress && !loss_accepted_) {
    throw Violation(
        "S2", fmt::format("activated at progress {}, but the world has seen {}", image.progress, line.seen));
  }
  line.fork = std::min(line.fork.value_or(image.progress), image.progress);
  return new_lineage();
}

void Truth::recovers(Session session, Epoch epoch, const DiskContent& disk) {
  const SessionTruth& truth = of(session);
  if (static_cast<std::int64_t>(epoch) > truth.whole) {
    throw Violation("S4", fmt::format("replicas of epoch {} are found, whole is {}", epoch, truth.whole));
  }
  if (truth.epochs.at(epoch).disk != disk) {
    throw Violation("S4", fmt::format("replicas said to be of epoch {} are not", epoch));
  }
}

}  // namespace remus::sim
