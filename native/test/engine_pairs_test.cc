// Control calls that do not wait for each other: every ordered pair of them, and sequences, on
// lines with clones, beside operations under way. What calls that ended with kOk make, one after
// the other as they were submitted, is what the pool holds then, after a close and after a crash.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "native/test/call_scene.h"

namespace ashlar {
namespace {

using namespace calls;

#if defined(__SANITIZE_ADDRESS__)
constexpr uint64_t kEvery = 7;  // Of the pairs and sequences; without sanitizers all are made.
#else
constexpr uint64_t kEvery = 1;
#endif

uint64_t Number(const char* name, uint64_t otherwise) {
  const char* set = std::getenv(name);
  return set != nullptr ? std::strtoull(set, nullptr, 10) : otherwise;
}

// PAIRS_SEED and PAIRS_ROUNDS: other ways of doing them, and more.
TEST(Pairs, OfCallsThatDoNotWait) {
  const MemFile image = MakeImage();
  const uint64_t seed = Number("PAIRS_SEED", 1), rounds = Number("PAIRS_ROUNDS", 1);
  for (uint64_t n = 0; n < rounds * Scene::kCalls * Scene::kCalls; n += kEvery) {
    const size_t first = n / Scene::kCalls % Scene::kCalls, second = n % Scene::kCalls;
    const Mode mode = ModeOf(seed * 1000003 + n);
    Scene s(image, mode);
    if (mode.flying) {
      for (uint32_t on : {s.v, s.w, s.c1}) s.Fly(on);
    }
    s.Do(first);
    if (s.rng() % 2 == 0) s.Steps(1 + s.rng() % 5);
    if (mode.flying) s.Fly(s.v);
    s.Do(second);
    s.Finish();
    if (HasFailure()) {
      FAIL() << "calls " << first << ", " << second << "; " << Text(mode) << "\n" << s.b.Said();
    }
  }
}

TEST(Pairs, SequencesOfCallsThatDoNotWait) {
  const MemFile image = MakeImage();
  const uint64_t seed = Number("PAIRS_SEED", 1), rounds = Number("PAIRS_ROUNDS", 1);
  for (uint64_t n = 0; n < rounds * 400; n += kEvery) {
    const Mode mode = ModeOf(seed * 2000003 + n);
    Scene s(image, mode);
    for (uint64_t left = 3 + s.rng() % 10; left > 0; --left) {
      // Now, or from inside the end of the one before.
      Call* last = s.b.calls.empty() ? nullptr : &s.b.calls.back();
      if (last != nullptr && last->ended == 0 && s.rng() % 4 == 0) {
        last->then = [&s] { s.DoAny(); };
      } else {
        s.DoAny();
      }
      if (s.rng() % 2 == 0) s.Steps(1 + s.rng() % 5);
    }
    s.Finish();
    if (HasFailure()) FAIL() << Text(mode) << "\n" << s.b.Said();
  }
}

// A setting that is removed gives its place away while another of its name, called before, is on
// its way to that place.
TEST(Pairs, ASettingKeepsItsPlaceWhileOneIsOnItsWay) {
  for (uint64_t steps = 0; steps < 4; ++steps) {
    MemFile disk(kBytes, false);
    test::Host host(disk);
    ASSERT_EQ(host.Format(), Status::kOk);
    ASSERT_EQ(host.Open(), Status::kOk);
    const std::vector<uint8_t> value(100, 7);
    ASSERT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->PutBlob(0, "k", value, d, c); }),
              Status::kOk);
    Call calls[3];
    host.pool->PutBlob(0, "k", {}, Bench::Done, &calls[0]);
    host.pool->Kick();
    host.pool->PutBlob(0, "k", value, Bench::Done, &calls[1]);
    // One: the removal has been applied, what comes behind it has not.
    for (uint64_t i = 0; i < steps; ++i) host.pool->Poll();
    host.pool->PutBlob(0, "l", value, Bench::Done, &calls[2]);
    for (int i = 0; i < 1000 && calls[2].ended == 0; ++i) host.Step();
    host.Settle();
    for (const Call& c : calls) EXPECT_EQ(c.status, Status::kOk);
    EXPECT_EQ(host.pool->BlobKeys(0), (std::vector<std::string>{"k", "l"})) << steps;
    ASSERT_EQ(host.Close(), Status::kOk);
    host.ExpectClean();
    ASSERT_EQ(host.Open(), Status::kOk);
    EXPECT_EQ(host.pool->BlobKeys(0), (std::vector<std::string>{"k", "l"})) << steps;
  }
}

// The second removal finds nothing, since the first has been applied; it is not durable before
// that.
TEST(Pairs, ASettingThatIsRemovedTwiceDoesNotComeBack) {
  for (uint64_t steps = 0; steps < 4; ++steps) {
    MemFile disk(kBytes, false);
    test::Host host(disk);
    ASSERT_EQ(host.Format(), Status::kOk);
    ASSERT_EQ(host.Open(), Status::kOk);
    const std::vector<uint8_t> value(100, 7);
    ASSERT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->PutBlob(0, "k", value, d, c); }),
              Status::kOk);
    disk.hold = [](const IoRequest& r) { return r.kind == IoKind::kFlush; };
    Call calls[2];
    host.pool->PutBlob(0, "k", {}, Bench::Done, &calls[0]);
    for (uint64_t i = 0; i < steps; ++i) host.Step();
    host.pool->PutBlob(0, "k", {}, Bench::Done, &calls[1]);
    for (uint64_t i = 0; i < 10; ++i) host.Step();
    // No flush has ended: neither may be called durable.
    EXPECT_EQ(calls[0].ended + calls[1].ended, 0) << steps;
    disk.PowerCut();
    host.pool.reset();
    disk.hold = nullptr;
    ASSERT_EQ(host.Open(), Status::kOk);
    ASSERT_EQ(host.Close(), Status::kOk);
  }
}

// What is asked ends, though the pool is closed meanwhile, or was.
TEST(Pairs, AQuestionEndsWithThePool) {
  for (int ask = 0; ask < 8; ++ask) {
    MemFile disk(kBytes, ask >= 4);
    test::Host host(disk);
    ASSERT_EQ(host.Format(), Status::kOk);
    ASSERT_EQ(host.Open(), Status::kOk);
    const uint32_t v = host.Create("v", kBlocks);
    ASSERT_EQ(host.Write(v, 0, 1000, 200), Status::kOk);
    // No superblock reaches it yet: questions wait.
    const uint32_t s = host.Snapshot(v, "one");
    std::vector<MapRun> runs;
    std::vector<ChangedRun> changed;
    uint64_t next = 0;
    Call asked, closed;
    if (ask % 4 == 0) host.pool->MapStatus(s, 0, 9, &runs, Bench::Done, &asked);
    if (ask % 4 == 1) host.pool->Changed(s, v, 0, 9, &runs, &next, Bench::Done, &asked);
    if (ask % 4 == 2) host.pool->ChangedSince(s, 0, 0, 9, &changed, &next, Bench::Done, &asked);
    host.pool->Close(Bench::Done, &closed);
    if (ask % 4 == 3) host.pool->MapStatus(s, 0, 9, &runs, Bench::Done, &asked);
    for (int i = 0; i < 1000 && closed.ended == 0; ++i) host.Step();
    EXPECT_EQ(closed.status, Status::kOk);
    EXPECT_EQ(asked.ended, 1) << ask;
  }
}

}  // namespace
}  // namespace ashlar
