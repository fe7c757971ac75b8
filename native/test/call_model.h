// What a pool holds once calls have ended, as a model: tests compare it with the pool.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace ashlar::calls {

inline constexpr uint64_t kBlocks = 300;  // Of a volume at first: three leaves.
inline constexpr uint64_t kMost = 400;    // After it was resized.
inline constexpr uint64_t kBytes = 16 * (1 << 20);

struct ModelSnap {
  std::string name;
  uint32_t head = 0;
  uint64_t size = 0;
  std::vector<uint64_t> data;
};
struct ModelVolume {
  std::string name;
  uint64_t size = kBlocks;
  uint32_t origin = 0;  // A snapshot.
  std::vector<uint32_t> line;
  std::vector<uint64_t> data = std::vector<uint64_t>(kMost);
  std::map<std::string, size_t> blobs;
};
struct Model {
  std::map<uint32_t, ModelVolume> volumes;
  std::map<uint32_t, ModelSnap> snaps;
  bool bad = false;  // Something ended with kOk that is not possible.

  bool Cloned(uint32_t s) const {
    return std::any_of(volumes.begin(), volumes.end(),
                       [s](const auto& v) { return v.second.origin == s; });
  }
  ModelVolume* Volume(uint32_t v) {
    bad |= volumes.count(v) == 0;
    return &volumes[v];
  }
  void Snapshot(uint32_t v, uint32_t s, const std::string& name) {
    ModelVolume* m = Volume(v);
    snaps[s] = {name, v, m->size, m->data};
    m->line.push_back(s);
  }
  void DeleteSnap(uint32_t s) {
    bad |= snaps.count(s) == 0 || Cloned(s);
    if (bad) return;
    std::erase(volumes[snaps[s].head].line, s);
    snaps.erase(s);
  }
  void Delete(uint32_t v, bool with) {
    const std::vector<uint32_t> line = Volume(v)->line;
    bad |= !with && !line.empty();
    for (uint32_t s : line) DeleteSnap(s);
    volumes.erase(v);
  }
  void Clone(uint32_t s, uint32_t c, const std::string& name) {
    bad |= snaps.count(s) == 0;
    ModelVolume clone;
    clone.name = name;
    clone.size = snaps[s].size;
    clone.origin = s;
    if (!bad) clone.data = snaps[s].data;
    volumes[c] = clone;
  }
  void Promote(uint32_t v) {
    ModelVolume* m = Volume(v);
    const uint32_t s = m->origin;
    bad |= s == 0 || snaps.count(s) == 0;
    if (bad) return;
    const uint32_t from = snaps[s].head;
    ModelVolume* f = Volume(from);
    const auto end = std::find(f->line.begin(), f->line.end(), s) + 1;
    for (auto it = f->line.begin(); it != end; ++it) snaps[*it].head = v;
    m->line.insert(m->line.begin(), f->line.begin(), end);
    f->line.erase(f->line.begin(), end);
    m->origin = f->origin;
    f->origin = s;
  }
  void Rollback(uint32_t v, uint32_t s, bool later) {
    ModelVolume* m = Volume(v);
    bad |= snaps.count(s) == 0 || snaps[s].head != v;
    if (bad) return;
    while (m->line.back() != s) {
      bad |= !later;
      DeleteSnap(m->line.back());
      if (bad) return;
    }
    m->size = snaps[s].size;
    m->data = snaps[s].data;
  }
  // With nothing that a handle would say: those change with the opening.
  std::string Text() const {
    std::string text;
    std::map<std::string, std::string> all;
    auto full = [this](uint32_t s) {
      return s == 0 ? "" : volumes.at(snaps.at(s).head).name + "@" + snaps.at(s).name;
    };
    auto print = [](const std::vector<uint64_t>& data, uint64_t size) {
      std::string out = std::to_string(size) + ":";
      for (uint64_t lba = 0; lba < size;) {  // As runs.
        uint64_t n = 1;
        auto next = [&](uint64_t i) { return data[lba] == 0 ? 0 : data[lba] + i; };
        while (lba + n < size && data[lba + n] == next(n)) ++n;
        out += " " + std::to_string(data[lba]) + "*" + std::to_string(n);
        lba += n;
      }
      return out + "\n";
    };
    for (const auto& [handle, v] : volumes) {
      std::string& out = all[v.name] = v.name + " of '" + full(v.origin) + "' ";
      out += print(v.data, v.size);
      for (uint32_t s : v.line)
        out += " @" + snaps.at(s).name + " " + print(snaps.at(s).data, snaps.at(s).size);
      for (const auto& [key, bytes] : v.blobs)
        out += " " + key + "=" + std::to_string(bytes) + "\n";
    }
    for (const auto& [name, out] : all) text += out;
    return text;
  }
};

}  // namespace ashlar::calls
