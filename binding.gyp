{
  # A shim for tools that look for binding.gyp: the one list of sources and flags is CMakeLists.txt, built by cmake-js.
  'targets': [
    {
      'target_name': 'ashlar',
      'type': 'none',
      'actions': [
        {
          'action_name': 'cmake-js',
          'inputs': ['CMakeLists.txt'],
          'outputs': ['build/cmake/Release/ashlar.node'],
          'action': ['npm', 'run', 'build:native'],
        },
      ],
    },
  ],
}
