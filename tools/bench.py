"""x"""
import sys, json
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parent))
if __name__=="__main__":
    from benchmarks.appending import *
    if sys.argv[1]=='http': print(json.dumps(append_over_http(HTTP,float(sys.argv[2]),1,None),indent=1))
    if sys.argv[1]=='single': print(json.dumps(append_over_http(SINGLE,float(sys.argv[2]),1,None),indent=1))
    if sys.argv[1]=='inprocess':
        from benchmarks.library import *
        print(json.dumps(inprocess(float(sys.argv[2]),1,None),indent=1))
