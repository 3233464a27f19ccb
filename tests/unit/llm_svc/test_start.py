"""A process with only the scripted model starts fast and stays small."""

import subprocess
import sys


def test_the_openai_client_is_not_imported_for_the_scripted_model() -> None:
    code = (
        "import sys, llm_svc.__main__;"
        "from llm_svc.agent_model import AgentModels, ModelSpec;"
        "from llm_svc.config import Settings;"
        "from llm_svc.wiring import contender, lineup_of;"
        "[contender(Settings(), one) for one in lineup_of(Settings(), AgentModels(ModelSpec('scripted', 'booking')))];"
        "sys.exit('openai' in sys.modules or 'httpx2' in sys.modules or 'opentelemetry.sdk' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
