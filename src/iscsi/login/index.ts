// The login phase: `LoginNegotiator` takes Login Requests and makes the responses, over all stages, keys and CHAP, and
// asks its caller for a session at the end. Pure: no socket, no timer, no session table.
export {
  ALL_CHAP_ALGORITHMS,
  ChapAlgorithm,
  type ChapStep,
  ChapTarget,
  chapResponse,
} from './chap.ts';
export { MAX_LOGIN_TEXT_BYTES } from './limits.ts';
export {
  type Admission,
  LoginNegotiator,
  type LoginOptions,
  type LoginResult,
  type LoginStep,
} from './login-negotiator.ts';
